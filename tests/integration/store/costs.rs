//! What a claim costs in PostgreSQL beside ever more rows that are synced: in pages that are looked at, which depend on nothing
//! else, and in time, which is shown only. `NAS_SYNC_ROWS` says how many rows instead, such as `10000,1000000,10000000`.

use std::time::Instant;

use super::*;

/// What is pending beside them, registered last.
const PENDING: i64 = 40;
/// Claims of which the mean is taken.
const CLAIMS: i64 = 20;

/// What a claim costs, and a look at the queue.
struct Cost {
    pages: [i64; 2],
    time: [Duration; 2],
}

/// Fills a database whose table is nas-sync's own with so many synced rows.
fn fill(server: &Postgres, synced: i64) {
    server.sql(&format!(
        "TRUNCATE documents, nas_sync_documents RESTART IDENTITY;
         INSERT INTO documents (user_id, file_path, synced_to_nas, synced_at)
             SELECT n % 7, '/uploads/' || n || '.pdf', n <= {synced}, CASE WHEN n <= {synced} THEN now() END
             FROM generate_series(1, {synced} + {PENDING}) n;
         INSERT INTO nas_sync_documents (document_id, file_path, level)
             SELECT id, file_path, 'durable' FROM documents WHERE synced_to_nas;"
    ));
    server.sql("VACUUM ANALYZE documents");
    server.sql("VACUUM ANALYZE nas_sync_documents");
}

/// The pages that the server has looked at for nas-sync since the last time.
fn pages(server: &Postgres) -> i64 {
    let sum = "SELECT coalesce(sum(shared_blks_hit + shared_blks_read), 0)::bigint FROM pg_stat_statements WHERE query LIKE '%d.id%'";
    let sum = server.number(sum);
    server.sql("SELECT pg_stat_statements_reset()");
    sum
}

async fn cost(server: &Postgres, store: &Store) -> Cost {
    pages(server);
    let began = Instant::now();
    for _ in 0..CLAIMS {
        let claimed = store.lease(Selection::all(), Due::At(noon()), 1, worker(1, Life::Possible)).await.unwrap();
        assert_eq!(claimed.documents.len(), 1);
        store.release(claimed.fence.unwrap()).await.unwrap();
    }
    let claim = (began.elapsed(), pages(server));
    let began = Instant::now();
    for _ in 0..CLAIMS {
        let queue = store.queue(Selection::all(), noon(), worker(1, Life::Possible)).await.unwrap();
        assert_eq!(i64::try_from(queue.due).unwrap(), PENDING);
    }
    let look = (began.elapsed(), pages(server));
    Cost { pages: [claim.1 / CLAIMS, look.1 / CLAIMS], time: [claim.0 / 20, look.0 / 20] }
}

#[tokio::test]
async fn with_the_index_a_claim_costs_the_same_however_many_are_synced() {
    let settings = "shared_preload_libraries = 'pg_stat_statements'\nmax_wal_size = '8GB'";
    let Some(server) = Postgres::with(settings, "") else { return };
    server.sql("CREATE EXTENSION pg_stat_statements");
    let database = Database::server(server);
    let Database::Server(server, _) = &database else { unreachable!() };
    let store = open(&database).await;
    let asked = std::env::var("NAS_SYNC_ROWS").unwrap_or_else(|_| "2000,60000".to_owned());
    let mut costs = Vec::new();
    for rows in asked.split(',').map(|rows| rows.parse().unwrap()) {
        fill(server, rows);
        let table = server.number("SELECT relpages FROM pg_class WHERE oid = 'documents'::regclass");
        let mut both = Vec::new();
        for indexed in [true, false] {
            if indexed {
                store.add_index().await.unwrap();
            } else {
                server.sql("DROP INDEX nas_sync_pending");
            }
            let cost = cost(server, &store).await;
            let ([claim, look], [claim_time, look_time]) = (cost.pages, cost.time);
            let with = if indexed { "with" } else { "without" };
            println!(
                "{rows} rows, {with} the index: {claim} pages and {claim_time:.1?} a claim, {look} and {look_time:.1?} a look"
            );
            both.push(cost.pages);
        }
        costs.push((table, both[0], both[1]));
    }
    let (few, many) = (&costs[0], &costs[costs.len() - 1]);
    for at in [0, 1] {
        assert!(few.1[at] > 0 && many.1[at] <= 2 * few.1[at], "{} pages became {}", few.1[at], many.1[at]);
        assert!(many.2[at] >= many.0, "without it the whole table is looked through");
    }
}
