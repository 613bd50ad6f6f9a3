-- 0002 judgments: the firm's judgments, who is party to them, and the files that brought them.
-- serves: 0.1.0

create schema if not exists civil;

-- Reference: counties and courts ------------------------------------------------------------

create table civil.counties (
    county_fips char(5) primary key check (county_fips ~ '^36[0-9]{3}$'),
    name text not null unique,
    is_nyc boolean not null,
    -- which minimum wage applies (Labor Law 652); 'high' is NYC, Nassau, Suffolk, Westchester
    wage_region text not null check (wage_region in ('high', 'rest')),
    -- which homestead exemption applies (CPLR 5206)
    homestead_band char(1) not null check (homestead_band in ('A', 'B', 'C'))
);

insert into civil.counties (county_fips, name, is_nyc, wage_region, homestead_band) values
    ('36001', 'Albany', false, 'rest', 'B'),
    ('36003', 'Allegany', false, 'rest', 'C'),
    ('36005', 'Bronx', true, 'high', 'A'),
    ('36007', 'Broome', false, 'rest', 'C'),
    ('36009', 'Cattaraugus', false, 'rest', 'C'),
    ('36011', 'Cayuga', false, 'rest', 'C'),
    ('36013', 'Chautauqua', false, 'rest', 'C'),
    ('36015', 'Chemung', false, 'rest', 'C'),
    ('36017', 'Chenango', false, 'rest', 'C'),
    ('36019', 'Clinton', false, 'rest', 'C'),
    ('36021', 'Columbia', false, 'rest', 'B'),
    ('36023', 'Cortland', false, 'rest', 'C'),
    ('36025', 'Delaware', false, 'rest', 'C'),
    ('36027', 'Dutchess', false, 'rest', 'B'),
    ('36029', 'Erie', false, 'rest', 'C'),
    ('36031', 'Essex', false, 'rest', 'C'),
    ('36033', 'Franklin', false, 'rest', 'C'),
    ('36035', 'Fulton', false, 'rest', 'C'),
    ('36037', 'Genesee', false, 'rest', 'C'),
    ('36039', 'Greene', false, 'rest', 'C'),
    ('36041', 'Hamilton', false, 'rest', 'C'),
    ('36043', 'Herkimer', false, 'rest', 'C'),
    ('36045', 'Jefferson', false, 'rest', 'C'),
    ('36047', 'Kings', true, 'high', 'A'),
    ('36049', 'Lewis', false, 'rest', 'C'),
    ('36051', 'Livingston', false, 'rest', 'C'),
    ('36053', 'Madison', false, 'rest', 'C'),
    ('36055', 'Monroe', false, 'rest', 'C'),
    ('36057', 'Montgomery', false, 'rest', 'C'),
    ('36059', 'Nassau', false, 'high', 'A'),
    ('36061', 'New York', true, 'high', 'A'),
    ('36063', 'Niagara', false, 'rest', 'C'),
    ('36065', 'Oneida', false, 'rest', 'C'),
    ('36067', 'Onondaga', false, 'rest', 'C'),
    ('36069', 'Ontario', false, 'rest', 'C'),
    ('36071', 'Orange', false, 'rest', 'B'),
    ('36073', 'Orleans', false, 'rest', 'C'),
    ('36075', 'Oswego', false, 'rest', 'C'),
    ('36077', 'Otsego', false, 'rest', 'C'),
    ('36079', 'Putnam', false, 'rest', 'A'),
    ('36081', 'Queens', true, 'high', 'A'),
    ('36083', 'Rensselaer', false, 'rest', 'C'),
    ('36085', 'Richmond', true, 'high', 'A'),
    ('36087', 'Rockland', false, 'rest', 'A'),
    ('36089', 'St. Lawrence', false, 'rest', 'C'),
    ('36091', 'Saratoga', false, 'rest', 'B'),
    ('36093', 'Schenectady', false, 'rest', 'C'),
    ('36095', 'Schoharie', false, 'rest', 'C'),
    ('36097', 'Schuyler', false, 'rest', 'C'),
    ('36099', 'Seneca', false, 'rest', 'C'),
    ('36101', 'Steuben', false, 'rest', 'C'),
    ('36103', 'Suffolk', false, 'high', 'A'),
    ('36105', 'Sullivan', false, 'rest', 'C'),
    ('36107', 'Tioga', false, 'rest', 'C'),
    ('36109', 'Tompkins', false, 'rest', 'C'),
    ('36111', 'Ulster', false, 'rest', 'B'),
    ('36113', 'Warren', false, 'rest', 'C'),
    ('36115', 'Washington', false, 'rest', 'C'),
    ('36117', 'Wayne', false, 'rest', 'C'),
    ('36119', 'Westchester', false, 'high', 'A'),
    ('36121', 'Wyoming', false, 'rest', 'C'),
    ('36123', 'Yates', false, 'rest', 'C');

create table civil.courts (
    court_id text primary key check (court_id ~ '^[a-z0-9_-]+(:[a-z0-9_-]+)?$'),
    name text not null,
    court_type text not null,
    county_fips char(5) references civil.counties,
    -- a lower court's judgment binds land, and a sheriff, only by a transcript: CPLR 5018(a)
    needs_transcript boolean not null
);

-- the courts of dragonfly.judgments.courts, by where each kind sits
insert into civil.courts (court_id, name, court_type, county_fips, needs_transcript)
select
    kind.court_type || ':' || replace(replace(lower(county.name), '.', ''), ' ', '_'),
    format(kind.name, county.name),
    kind.court_type,
    county.county_fips,
    kind.needs_transcript
from civil.counties as county
cross join (values
    ('supreme', 'Supreme Court, %s County', 'everywhere', false),
    ('family', 'Family Court, %s County', 'everywhere', false),
    ('surrogate', 'Surrogate''s Court, %s County', 'everywhere', true),
    ('nyc_civil', 'Civil Court of the City of New York, %s County', 'city', true),
    ('nyc_small_claims', 'Civil Court of the City of New York, %s County, Small Claims Part', 'city', true),
    ('district', 'District Court, %s County', 'long island', true),
    ('county', 'County Court, %s County', 'elsewhere', false),
    ('city', 'A City Court in %s County', 'elsewhere', true),
    ('town_village', 'A Town or Village Court in %s County', 'elsewhere', true)
) as kind (court_type, name, sits, needs_transcript)
where
    kind.sits = 'everywhere'
    or kind.sits = 'city' and county.is_nyc
    or kind.sits = 'elsewhere' and not county.is_nyc
    or kind.sits = 'long island' and county.name in ('Nassau', 'Suffolk');

-- Files and their rows ----------------------------------------------------------------------

create table civil.intake_batches (
    batch_id uuid primary key default gen_random_uuid(),
    source_system text not null check (source_system ~ '^[a-z][a-z0-9_]{0,39}$'),
    mode text not null default 'load' check (mode in ('load', 'dry_run')),
    status text not null default 'received' check (status in (
        'received', 'staged', 'validated', 'loading',
        'completed', 'completed_with_rejects', 'dry_run',
        'rejected', 'failed', 'rolled_back', 'duplicate'
    )),
    file_name text not null,
    storage_path text,
    byte_size bigint not null check (byte_size >= 0),
    file_sha256 bytea not null check (octet_length(file_sha256) = 32),
    -- of the rows as read, so that a copy re-saved by Excel is known for what it is
    content_sha256 bytea check (octet_length(content_sha256) = 32),
    source_reference text check (length(source_reference) between 1 and 120),
    encoding text,
    encoding_guessed boolean,
    delimiter text,
    header text[],
    header_fingerprint bytea,
    format_id text,
    -- how each date column prints its dates, decided once for the file
    date_formats jsonb,
    -- "today" for every row of the file, however often its work is begun again
    as_of date not null,
    error_budget_pct numeric(5, 2) not null default 10 check (error_budget_pct between 0 and 100),
    expected_rows integer check (expected_rows > 0),
    rows_total integer,
    rows_loaded integer,
    rows_updated integer,
    rows_unchanged integer,
    rows_duplicate integer,
    rows_rejected integer,
    rows_review integer,
    reject_code text,
    reject_detail text,
    duplicate_of uuid references civil.intake_batches,
    requested_by text,
    created_at timestamptz not null default now(),
    staged_at timestamptz,
    validated_at timestamptz,
    completed_at timestamptz,
    -- every row of a finished file is accounted for exactly once
    constraint rows_add_up check (
        status not in ('completed', 'completed_with_rejects', 'dry_run')
        or coalesce(
            rows_total = rows_loaded + rows_updated + rows_unchanged
            + rows_duplicate + rows_rejected + rows_review,
            false
        )
    ),
    constraint duplicate_names_the_first check ((status = 'duplicate') = (duplicate_of is not null))
);

create unique index intake_batches_one_per_file
    on civil.intake_batches (source_system, file_sha256)
    where mode = 'load' and status not in ('rejected', 'failed', 'rolled_back', 'duplicate');
create unique index intake_batches_one_per_reference
    on civil.intake_batches (source_system, source_reference)
    where
        source_reference is not null
        and mode = 'load' and status not in ('rejected', 'failed', 'rolled_back', 'duplicate');
create index intake_batches_by_content
    on civil.intake_batches (source_system, content_sha256)
    where content_sha256 is not null;
create index intake_batches_newest on civil.intake_batches (created_at desc);

create table civil.intake_raw_rows (
    batch_id uuid not null references civil.intake_batches on delete cascade,
    row_no integer not null check (row_no > 0),
    -- the line on which the record starts, as Excel shows it: the header is line 1
    line_no integer not null,
    cells text[] not null,
    primary key (batch_id, row_no)
);

create table civil.intake_row_results (
    batch_id uuid not null,
    row_no integer not null,
    -- null: valid, and not yet loaded
    outcome text check (
        outcome in ('loaded', 'updated', 'unchanged', 'duplicate', 'rejected', 'review')
    ),
    codes text[] not null default '{}',
    identity_hash bytea,
    content_hash bytea,
    -- of a duplicate: the row of this file that came first
    first_row_no integer,
    judgment_id uuid,
    changed_fields text[],
    primary key (batch_id, row_no),
    foreign key (batch_id, row_no) references civil.intake_raw_rows on delete cascade,
    constraint rejected_has_a_reason check (outcome <> 'rejected' or codes <> '{}')
);

-- which rows of which files made a judgment what it is
create index intake_row_results_by_judgment
    on civil.intake_row_results (judgment_id, batch_id) where judgment_id is not null;
create index intake_row_results_undecided
    on civil.intake_row_results (batch_id, row_no) where outcome is null;

create table civil.intake_rejected_rows (
    batch_id uuid not null,
    row_no integer not null,
    line_no integer not null,
    -- what rejects the row; what is only odd about it stands in intake_row_results
    codes text[] not null,
    -- [{code, message, severity, column, cell}]; no message repeats what the cell holds
    messages jsonb not null,
    resolution text not null default 'open' check (resolution in ('open', 'fixed', 'ignored')),
    resolved_by text,
    resolved_at timestamptz,
    note text,
    primary key (batch_id, row_no),
    foreign key (batch_id, row_no) references civil.intake_raw_rows on delete cascade
);

-- Plaintiffs --------------------------------------------------------------------------------

create table civil.plaintiffs (
    plaintiff_id uuid primary key default gen_random_uuid(),
    kind text not null default 'unknown'
        check (kind in ('person', 'company', 'government', 'estate', 'unknown')),
    name_display text not null check (length(btrim(name_display)) between 1 and 300),
    -- computed by dragonfly.judgments.names alone; not unique, since two firms can share a name
    name_key text not null check (name_key <> ''),
    address text,
    source_system text not null,
    source_reference text,
    -- LOA: the plaintiff's letter of authority; without one or an assignment nothing may be sent
    authorization_status text not null default 'none'
        check (authorization_status in ('none', 'loa', 'assignment', 'both', 'revoked')),
    status text not null default 'active'
        check (status in ('active', 'inactive', 'test', 'merged')),
    merged_into uuid references civil.plaintiffs,
    created_batch_id uuid references civil.intake_batches,
    version integer not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint merged_names_its_twin check ((status = 'merged') = (merged_into is not null))
);

create index plaintiffs_by_name on civil.plaintiffs (name_key);
create unique index plaintiffs_one_per_reference
    on civil.plaintiffs (source_system, source_reference) where source_reference is not null;

create table civil.plaintiff_contacts (
    plaintiff_id uuid not null references civil.plaintiffs on delete cascade,
    kind text not null check (kind in ('phone', 'email', 'address')),
    -- E.164 for a phone, lower case for an e-mail; null when only the raw print is known
    value_norm text check (kind <> 'phone' or value_norm ~ '^\+[1-9][0-9]{6,14}$'),
    raw text not null,
    is_primary boolean not null default false,
    batch_id uuid references civil.intake_batches,
    created_at timestamptz not null default now()
);

create unique index plaintiff_contacts_once
    on civil.plaintiff_contacts (plaintiff_id, kind, coalesce(value_norm, raw));
create unique index plaintiff_contacts_one_primary
    on civil.plaintiff_contacts (plaintiff_id, kind) where is_primary;

-- Judgments ---------------------------------------------------------------------------------

create table civil.judgments (
    judgment_id uuid primary key default gen_random_uuid(),
    plaintiff_id uuid not null references civil.plaintiffs,
    court_id text references civil.courts,
    court_raw text,
    county_fips char(5) references civil.counties,
    state char(2) not null default 'NY',
    index_raw text not null,
    index_display text not null,
    index_key text not null check (index_key <> ''),
    index_parsed boolean not null,
    judgment_number text,
    caption text,
    filing_date date,
    judgment_date date,
    -- interest, the lien and the twenty years run from here: never filled from another date.
    -- A day of grace, because the session's day may be ahead of or behind New York's
    entry_date date check (entry_date <= current_date + 1),
    entry_date_quality text not null default 'unknown'
        check (entry_date_quality in ('court_record', 'vendor', 'assumed', 'unknown')),
    judgment_roll_filed date,
    first_enforceable_date date,
    amount_awarded numeric(14, 2) not null check (amount_awarded >= 0),
    costs numeric(14, 2) not null default 0 check (costs >= 0),
    prejudgment_interest numeric(14, 2) not null default 0 check (prejudgment_interest >= 0),
    original_total numeric(14, 2) not null
        generated always as (amount_awarded + costs + prejudgment_interest) stored,
    debt_class text not null default 'unknown'
        check (debt_class in ('consumer', 'non_consumer', 'unknown')),
    debtor_is_natural_person boolean,
    contract_rate numeric(6, 4) check (contract_rate >= 0),
    status text not null default 'imported' check (status in (
        'imported', 'verified', 'active', 'partially_satisfied', 'satisfied', 'vacated', 'stayed',
        'bankruptcy_stay', 'discharged', 'expired', 'out_of_state', 'on_hold', 'duplicate'
    )),
    hold_reason text,
    dispute_since timestamptz,
    cease_since timestamptz,
    attorney_represented boolean,
    case_type text,
    -- what the vendor says of the case; never taken for legal satisfaction
    vendor_status text,
    source_system text not null,
    source_reference text,
    first_batch_id uuid references civil.intake_batches,
    last_batch_id uuid references civil.intake_batches,
    content_hash bytea,
    -- once a person has checked it against the court's record, no file overwrites it
    verified_by text,
    verified_at timestamptz,
    version integer not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint verified_by_and_when check ((verified_by is null) = (verified_at is null)),
    constraint hold_has_a_reason check (status <> 'on_hold' or hold_reason is not null)
);

-- An index number names a judgment only inside one court of one county of one state.
create unique index judgments_identity
    on civil.judgments (index_key, court_id, county_fips, judgment_number, state)
    nulls not distinct;
create unique index judgments_one_per_reference
    on civil.judgments (source_system, source_reference) where source_reference is not null;
create index judgments_by_plaintiff on civil.judgments (plaintiff_id);
create index judgments_by_last_batch on civil.judgments (last_batch_id);

create table civil.judgment_parties (
    judgment_id uuid not null references civil.judgments on delete cascade,
    -- the judgment creditor is 0, its debtors count from 1
    seq smallint not null check (seq >= 0),
    role text not null check (role in ('creditor', 'debtor', 'garnishee', 'assignee')),
    kind text not null check (kind in ('person', 'company', 'government', 'estate', 'unknown')),
    name_display text not null check (length(btrim(name_display)) between 1 and 300),
    name_key text not null check (name_key <> ''),
    address text,
    primary key (judgment_id, seq)
);

create index judgment_parties_by_name on civil.judgment_parties (name_key, role);

create table civil.judgment_payments (
    payment_id bigint generated always as identity primary key,
    judgment_id uuid not null references civil.judgments,
    received_on date not null,
    amount numeric(14, 2) not null check (amount > 0),
    source text not null,
    applied_interest numeric(14, 2) check (applied_interest >= 0),
    applied_principal numeric(14, 2) check (applied_principal >= 0),
    reversed_by bigint references civil.judgment_payments,
    recorded_by text,
    created_at timestamptz not null default now(),
    constraint applied_is_the_amount check (applied_interest + applied_principal = amount),
    constraint not_reversed_by_itself check (reversed_by <> payment_id)
);

create index judgment_payments_by_judgment on civil.judgment_payments (judgment_id, received_on);

create function civil.refuse_payment_change() returns trigger
language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.reversed_by is null
        and to_jsonb(new) - 'reversed_by' = to_jsonb(old) - 'reversed_by' then
        return new;
    end if;
    raise exception 'payments are only added: record a reversal and name it in reversed_by'
        using errcode = 'restrict_violation';
end
$$;

create trigger judgment_payments_append_only
    before update or delete on civil.judgment_payments
    for each row execute function civil.refuse_payment_change();

-- What a person must do ---------------------------------------------------------------------

create table civil.tasks (
    task_id bigint generated always as identity primary key,
    kind text not null check (kind in ('call', 'review', 'verify', 'sign', 'other')),
    status text not null default 'open' check (status in ('open', 'done', 'dropped')),
    plaintiff_id uuid references civil.plaintiffs,
    judgment_id uuid references civil.judgments,
    batch_id uuid,
    row_no integer,
    codes text[] not null default '{}',
    -- [{code, message, severity, column, cell}]
    detail jsonb not null default '[]',
    assigned_to text,
    due_on date,
    note text,
    created_at timestamptz not null default now(),
    done_at timestamptz,
    done_by text,
    foreign key (batch_id, row_no) references civil.intake_raw_rows on delete cascade
);

create unique index tasks_one_open_call
    on civil.tasks (plaintiff_id) where kind = 'call' and status = 'open';
create unique index tasks_one_open_review
    on civil.tasks (batch_id, row_no) where kind = 'review' and status = 'open';
create index tasks_open on civil.tasks (kind, created_at) where status = 'open';

-- Nobody but the workers' own role reads or writes here -------------------------------------

alter table civil.counties enable row level security;
alter table civil.courts enable row level security;
alter table civil.intake_batches enable row level security;
alter table civil.intake_raw_rows enable row level security;
alter table civil.intake_row_results enable row level security;
alter table civil.intake_rejected_rows enable row level security;
alter table civil.plaintiffs enable row level security;
alter table civil.plaintiff_contacts enable row level security;
alter table civil.judgments enable row level security;
alter table civil.judgment_parties enable row level security;
alter table civil.judgment_payments enable row level security;
alter table civil.tasks enable row level security;

revoke all on schema civil from public;
revoke all on all tables in schema civil from public;
revoke all on all functions in schema civil from public;

do $$
declare
    web_role text;
begin
    foreach web_role in array array['anon', 'authenticated'] loop
        if exists (select from pg_catalog.pg_roles where rolname = web_role) then
            execute format('revoke all on schema civil from %I', web_role);
            execute format('revoke all on all tables in schema civil from %I', web_role);
            execute format('revoke all on all functions in schema civil from %I', web_role);
        end if;
    end loop;
end
$$;
