-- 0009 grants: the trade's tables are the workers' alone, and no function trusts a caller's search_path
-- serves: 0.1.0

-- under a search_path of their own, a caller could give = another meaning and change a payment
alter function civil.refuse_payment_change() set search_path = '';

do $$
declare
    role_name text;
begin
    -- whatever the default privileges of this database gave them
    for role_name in select rolname from pg_catalog.pg_roles
                      where rolname in ('anon', 'authenticated', 'service_role') loop
        execute format('revoke all on schema civil from %I', role_name);
        execute format('revoke all on all tables in schema civil from %I', role_name);
        execute format('revoke all on all sequences in schema civil from %I', role_name);
        execute format('revoke all on all functions in schema civil from %I', role_name);
    end loop;
end $$;
