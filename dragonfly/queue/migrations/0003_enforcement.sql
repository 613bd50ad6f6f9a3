-- 0003 enforcement: the law in dated numbers, what is known of debtors, and each judgment's plan.
-- serves: 0.1.0

-- The law and the firm's policy, by date ----------------------------------------------------

create table civil.legal_parameters (
    name text not null check (name ~ '^[a-z][a-z0-9_]+$'),
    -- '' where one value holds everywhere; minimum wage: high, rest; homestead: A, B, C
    region text not null default '',
    value numeric(14, 4) not null,
    effective_from date not null,
    -- the last day on which it holds; null: until a younger row begins
    effective_to date,
    -- 'unconfirmed' marks what no source seen confirms; 'policy' what the firm chose
    source text not null,
    reviewed_by text,
    reviewed_at timestamptz,
    primary key (name, region, effective_from),
    constraint holds_at_least_a_day check (effective_to >= effective_from),
    constraint reviewed_by_and_when check ((reviewed_by is null) = (reviewed_at is null))
);

insert into civil.legal_parameters
    (name, region, value, effective_from, effective_to, source)
values
    ('interest_rate', '', 0.09, '1981-06-25', null, 'CPLR 5004(a); first day unconfirmed'),
    ('interest_rate_consumer', '', 0.02, '2022-04-30', null, 'CPLR 5004(a)(i), (ii), (b), (c)'),
    ('minimum_wage', 'high', 15.00, '2022-12-31', '2023-12-31', 'Labor Law 652'),
    ('minimum_wage', 'high', 16.00, '2024-01-01', '2024-12-31', 'Labor Law 652'),
    ('minimum_wage', 'high', 16.50, '2025-01-01', '2025-12-31', 'Labor Law 652'),
    ('minimum_wage', 'high', 17.00, '2026-01-01', '2026-12-31', 'Labor Law 652'),
    ('minimum_wage', 'rest', 14.20, '2022-12-31', '2023-12-31', 'Labor Law 652'),
    ('minimum_wage', 'rest', 15.00, '2024-01-01', '2024-12-31', 'Labor Law 652'),
    ('minimum_wage', 'rest', 15.50, '2025-01-01', '2025-12-31', 'Labor Law 652'),
    ('minimum_wage', 'rest', 16.00, '2026-01-01', '2026-12-31', 'Labor Law 652'),
    ('income_execution_floor_hours', '', 30, '1963-09-01', null, 'CPLR 5231(b); first day unconfirmed'),
    ('income_execution_gross_share', '', 0.10, '1963-09-01', null, 'CPLR 5231(b); first day unconfirmed'),
    ('income_execution_disposable_share', '', 0.25, '1963-09-01', null, 'CPLR 5231(b); first day unconfirmed'),
    ('bank_floor_hours', '', 240, '1963-09-01', null, 'CPLR 5222(i); first day unconfirmed'),
    ('direct_deposit_exemption', '', 3425.00, '2024-04-01', '2027-03-31', 'CPLR 5205(l), 5253'),
    ('homestead', 'A', 204825.00, '2024-04-01', '2027-03-31', 'CPLR 5206, 5253'),
    ('homestead', 'B', 170700.00, '2024-04-01', '2027-03-31', 'CPLR 5206, 5253'),
    ('homestead', 'C', 102400.00, '2024-04-01', '2027-03-31', 'CPLR 5206, 5253'),
    ('restraint_cap_multiple', '', 2, '1963-09-01', null, 'CPLR 5222(b); first day unconfirmed'),
    ('judgment_life_years', '', 20, '1963-09-01', null, 'CPLR 211(b)'),
    ('lien_life_years', '', 10, '1963-09-01', null, 'CPLR 5203(a)'),
    ('lien_renewal_window_days', '', 365, '1963-09-01', null, 'CPLR 5014: the last year of the lien'),
    ('satisfaction_days', '', 20, '1963-09-01', null, 'CPLR 5020(c)'),
    ('subpoena_answer_days', '', 7, '1963-09-01', null, 'CPLR 5224(a)(3)'),
    ('restraint_years', '', 1, '1963-09-01', null, 'CPLR 5222(b): on a third party'),
    ('income_execution_first_stage_days', '', 20, '1963-09-01', null, 'CPLR 5231(d), (e)'),
    ('execution_return_days', '', 60, '1963-09-01', null, 'unconfirmed: CPLR 5230(c)'),
    ('levy_days', '', 90, '1963-09-01', null, 'unconfirmed: CPLR 5232(a)'),
    ('military_check_age_days', '', 30, '1963-09-01', null, 'unconfirmed: 50 USC 3931'),
    ('letter_to_execution_days', '', 14, '1963-09-01', null, 'policy'),
    ('confidence_threshold', '', 70, '1963-09-01', null, 'policy'),
    ('employer_age_days', '', 180, '1963-09-01', null, 'policy'),
    ('bank_age_days', '', 180, '1963-09-01', null, 'policy'),
    ('address_age_days', '', 365, '1963-09-01', null, 'policy'),
    ('same_target_wait_years', '', 1, '1963-09-01', null, 'policy'),
    ('exempt_recheck_years', '', 1, '1963-09-01', null, 'policy'),
    ('life_warning_years', '', 2, '1963-09-01', null, 'policy'),
    ('small_balance', '', 1500.00, '1963-09-01', null, 'policy');

-- A rate other than the law's counts only when the judgment itself sets it.
alter table civil.judgments
    add column rate_source text check (rate_source in ('judgment', 'contract'));

-- What is known of a debtor -----------------------------------------------------------------

create table civil.debtor_intelligence (
    intel_id uuid primary key default gen_random_uuid(),
    judgment_id uuid not null references civil.judgments on delete cascade,
    debtor_seq smallint,
    kind text not null check (kind in (
        'employer', 'bank', 'real_property', 'vehicle', 'business_interest', 'benefits',
        'address', 'phone', 'bankruptcy', 'deceased', 'military'
    )),
    -- employer {name, gross, disposable, frequency, support, county_fips}; bank {name, balance,
    -- exempt_deposits, county_fips}; real_property and address {county_fips, …}; business_interest
    -- {name}; benefits {benefits_only}; bankruptcy {status}; military {active}; amounts as strings
    value jsonb not null check (jsonb_typeof(value) = 'object'),
    source text not null,
    obtained_at timestamptz not null,
    valid_until date,
    confidence smallint not null default 0 check (confidence between 0 and 100),
    verified_by text,
    verified_at timestamptz,
    -- under the Fair Credit Reporting Act; without it an employer or bank is not used
    permissible_purpose text,
    -- made up by a test or a demonstration: no plan is ever built on it
    is_mock boolean not null default false,
    superseded_by uuid references civil.debtor_intelligence,
    created_at timestamptz not null default now(),
    constraint verified_by_and_when check ((verified_by is null) = (verified_at is null)),
    constraint not_superseded_by_itself check (superseded_by <> intel_id)
);

create index debtor_intelligence_newest
    on civil.debtor_intelligence (judgment_id, kind, obtained_at desc);

-- Papers filed elsewhere --------------------------------------------------------------------

create table civil.docketings (
    judgment_id uuid not null references civil.judgments on delete cascade,
    county_fips char(5) not null references civil.counties,
    docketed_on date not null,
    transcript_no text,
    primary key (judgment_id, county_fips)
);

create table civil.assignments (
    assignment_id bigint generated always as identity primary key,
    judgment_id uuid not null references civil.judgments on delete cascade,
    from_party text not null,
    to_party text not null,
    executed_on date not null,
    -- an assignee enforces only after filing the instrument: CPLR 5019(c)
    filed_on date check (filed_on >= executed_on),
    document_id text
);

create index assignments_by_judgment on civil.assignments (judgment_id);

-- Plans and their actions -------------------------------------------------------------------

create table civil.enforcement_plans (
    plan_id uuid primary key,
    judgment_id uuid not null references civil.judgments,
    plan_no integer not null check (plan_no > 0),
    decided_at timestamptz not null default clock_timestamp(),
    as_of date not null,
    -- the facts that mattered, and the hash by which the next decision knows them again
    decision_inputs jsonb not null,
    decision_hash bytea not null check (octet_length(decision_hash) = 32),
    rules_version text not null,
    outcome text not null check (outcome in ('planned', 'blocked', 'needs_data', 'no_action')),
    -- [{gate, code, text, statute, clear_by, blocks, target_key}]
    blockers jsonb not null check (jsonb_typeof(blockers) = 'array'),
    -- every row of the decision table: [{row, fired, why}]
    considered jsonb not null check (jsonb_typeof(considered) = 'array'),
    -- dollars as strings: {principal, interest, total, per_diem, as_of, …}
    balance jsonb not null check (jsonb_typeof(balance) = 'object'),
    requested_by text,
    -- the job that made it; jobs are pruned, plans are not
    job_id bigint,
    superseded_by uuid references civil.enforcement_plans deferrable initially deferred,
    superseded_at timestamptz,
    unique (judgment_id, plan_no),
    constraint superseded_by_and_when check ((superseded_by is null) = (superseded_at is null))
);

-- Facts may return to an older state, so a hash may come again; the current plan is one.
create unique index enforcement_plans_one_current
    on civil.enforcement_plans (judgment_id) where superseded_by is null;

create table civil.enforcement_actions (
    action_id uuid primary key default gen_random_uuid(),
    plan_id uuid not null references civil.enforcement_plans,
    judgment_id uuid not null references civil.judgments,
    debtor_seq smallint,
    action_type text not null check (action_type in (
        'satisfaction_piece', 'restraint_release', 'officer_notice', 'refund', 'lien_renewal',
        'real_property_lien', 'income_execution', 'restraining_notice', 'property_execution',
        'bank_levy', 'information_subpoena', 'demand_letter', 'settlement_offer', 'asset_search'
    )),
    target jsonb not null check (jsonb_typeof(target) = 'object'),
    target_key text not null check (target_key <> ''),
    status text not null check (status in (
        'planned', 'awaiting_data', 'awaiting_signature', 'signed', 'issued', 'served',
        'returned_satisfied', 'returned_unsatisfied', 'expired', 'withdrawn', 'blocked', 'cancelled'
    )),
    requires_signature_of text not null
        check (requires_signature_of in ('none', 'clerk', 'attorney', 'creditor')),
    reason text not null,
    blocked_by text[] not null default '{}',
    statute text[] not null default '{}',
    balance_as_of date not null,
    balance_snapshot jsonb not null,
    earliest_on date,
    due_on date,
    expires_on date,
    signed_by text,
    signed_at timestamptz,
    issued_on date,
    served_on date,
    service_method text,
    ended_on date,
    -- {answer: 'none'} when the recipient swore that there is nothing
    result jsonb,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint signed_by_and_when check ((signed_by is null) = (signed_at is null)),
    constraint leaves_the_house_signed check (
        status not in ('signed', 'issued', 'served')
        or requires_signature_of = 'none'
        or signed_by is not null
    )
);

create unique index enforcement_actions_one_open
    on civil.enforcement_actions (judgment_id, action_type, target_key)
    where status in (
        'planned', 'awaiting_data', 'awaiting_signature', 'signed', 'issued', 'served', 'blocked'
    );
create index enforcement_actions_by_judgment on civil.enforcement_actions (judgment_id, status);
create index enforcement_actions_by_plan on civil.enforcement_actions (plan_id);

create table civil.enforcement_deadlines (
    deadline_id bigint generated always as identity primary key,
    action_id uuid not null references civil.enforcement_actions on delete cascade,
    code text not null check (code ~ '^[A-Z][A-Z0-9_]+$'),
    due_on date not null,
    -- the rule, as a sentence
    basis text not null,
    computed_from date not null,
    extended_to date,
    met_on date,
    unique (action_id, code)
);

create index enforcement_deadlines_open
    on civil.enforcement_deadlines (due_on) where met_on is null;

create table civil.enforcement_documents (
    document_id uuid primary key default gen_random_uuid(),
    judgment_id uuid not null references civil.judgments,
    -- null while no action has been signed: a plan may be made anew around a rendered paper
    action_id uuid references civil.enforcement_actions,
    target_key text not null,
    template text not null,
    template_version text not null,
    input_hash bytea not null,
    sha256 bytea not null check (octet_length(sha256) = 32),
    storage_path text not null,
    rendered_at timestamptz not null default now(),
    superseded_by uuid references civil.enforcement_documents,
    unique (judgment_id, target_key, template, template_version, input_hash)
);

create index enforcement_documents_by_action on civil.enforcement_documents (action_id);

-- Nobody but the workers' own role reads or writes here -------------------------------------

alter table civil.legal_parameters enable row level security;
alter table civil.debtor_intelligence enable row level security;
alter table civil.docketings enable row level security;
alter table civil.assignments enable row level security;
alter table civil.enforcement_plans enable row level security;
alter table civil.enforcement_actions enable row level security;
alter table civil.enforcement_deadlines enable row level security;
alter table civil.enforcement_documents enable row level security;

revoke all on all tables in schema civil from public;

do $$
declare
    web_role text;
begin
    foreach web_role in array array['anon', 'authenticated'] loop
        if exists (select from pg_catalog.pg_roles where rolname = web_role) then
            execute format('revoke all on all tables in schema civil from %I', web_role);
        end if;
    end loop;
end
$$;
