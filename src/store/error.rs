//! What an error of a database means for the caller: again later, the data, or us.

use std::borrow::Cow;

use sqlx::postgres::PgDatabaseError;

use super::StoreError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Unavailable,
    Data,
    Broken,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        match classify(&error) {
            Class::Unavailable => StoreError::Unavailable(error),
            Class::Data => StoreError::Data(error),
            Class::Broken => StoreError::Broken(error),
        }
    }
}

/// An error of a statement whose values are our own: no item of the batch may be blamed for it.
pub(super) fn never_the_data(error: sqlx::Error) -> sqlx::Error {
    match classify(&error) {
        Class::Data => sqlx::Error::AnyDriverError(Box::new(error)),
        Class::Unavailable | Class::Broken => error,
    }
}

fn classify(error: &sqlx::Error) -> Class {
    use sqlx::Error::*;
    match error {
        Database(_) if is_stale_plan(error) => Class::Unavailable,
        Database(database) => match database.code() {
            Some(code) if database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() => sqlite(&code),
            code => sqlstate(code),
        },
        // A value that the driver cannot even write came from the data.
        Encode(_) => Class::Data,
        Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed | BeginFailed => Class::Unavailable,
        _ => Class::Broken,
    }
}

/// Classes of the SQLSTATE, PostgreSQL manual, appendix A.
fn sqlstate(code: Option<Cow<'_, str>>) -> Class {
    let code = code.unwrap_or_default();
    match code.get(..2).unwrap_or_default() {
        // Data exception, integrity violation, program limit, cardinality violation.
        "22" | "23" | "54" => Class::Data,
        "21" if code == "21000" => Class::Data,
        // Connection, operator intervention, resources, transaction rollback, system error, wrong or missing login
        // (an operator is changing it), database absent.
        "08" | "57" | "53" | "40" | "58" | "28" | "3D" => Class::Unavailable,
        // Lock not available; read-only transaction, as on a server that was demoted; a failed or timed-out one.
        "55" if code == "55P03" => Class::Unavailable,
        "25" if matches!(&*code, "25006" | "25P02" | "25P03") => Class::Unavailable,
        // Undefined or not supported, unknown prepared statement, an internal error or a damaged page, which may be met
        // by one job alone, and whatever nobody thought of.
        _ => Class::Broken,
    }
}

/// Primary result codes of SQLite, the low eight bits of the extended ones (sqlite.org/rescode.html).
fn sqlite(code: &str) -> Class {
    match code.parse::<u32>().unwrap_or_default() & 0xff {
        // PERM, ABORT, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL, SCHEMA, AUTH.
        3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 13 | 14 | 15 | 17 | 23 => Class::Unavailable,
        // TOOBIG, CONSTRAINT, MISMATCH.
        18..=20 => Class::Data,
        // ERROR, CORRUPT, MISUSE, RANGE, NOTADB and the rest.
        _ => Class::Broken,
    }
}

/// The session prepared a statement before somebody changed the schema under it. Another session knows nothing of that.
fn is_stale_plan(error: &sqlx::Error) -> bool {
    let routine = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()?.routine());
    // The code is 0A000, which is said of much else, and the text is in the server's language.
    routine == Some("RevalidateCachedQuery")
}

/// Whatever is asked in this session of Postgres again would be answered the same: it is read-only, or is not the one that
/// prepared our statements.
pub(super) fn is_session_spoilt(error: &sqlx::Error) -> bool {
    matches!(code(error).as_str(), "25006") || is_statement_unknown(error) || is_stale_plan(error)
}

/// A prepared statement is unknown, or is there already: somebody gives us other sessions than those we prepared it in.
fn is_statement_unknown(error: &sqlx::Error) -> bool {
    matches!(code(error).as_str(), "26000" | "42P05")
}

/// What an operator should know beside the text of the database.
pub(super) fn hint(error: &sqlx::Error) -> &'static str {
    if is_statement_unknown(error) {
        " (behind a pooler in transaction mode? PgBouncer needs version 1.21 and max_prepared_statements for it; \
         otherwise set pool_mode = session)"
    } else {
        ""
    }
}

/// SQLSTATE or SQLite's code, without the database's text: that may quote the value it refused.
pub(super) fn code(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code());
    code.map_or_else(|| "unknown".to_owned(), |code| code.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_are_told_apart() {
        let class = |code: &'static str| sqlstate(Some(Cow::Borrowed(code)));
        for code in ["08006", "57P01", "57014", "53300", "53100", "40001", "40P01", "55P03", "25006", "58030"] {
            assert_eq!(class(code), Class::Unavailable, "{code}");
        }
        for code in ["22021", "22P05", "23514", "54000", "21000"] {
            assert_eq!(class(code), Class::Data, "{code}");
        }
        for code in ["42P01", "42703", "0A000", "26000", "55000", "XX001", ""] {
            assert_eq!(class(code), Class::Broken, "{code}");
        }
    }

    #[test]
    fn sqlite_codes_are_told_apart_also_extended() {
        for code in ["5", "261", "517", "6", "13", "10", "778", "8", "14"] {
            assert_eq!(sqlite(code), Class::Unavailable, "{code}");
        }
        for code in ["18", "19", "1555", "2067", "20"] {
            assert_eq!(sqlite(code), Class::Data, "{code}");
        }
        for code in ["1", "11", "26", "nonsense"] {
            assert_eq!(sqlite(code), Class::Broken, "{code}");
        }
    }

    #[test]
    fn a_lost_connection_is_worth_another_try() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(StoreError::from(lost), StoreError::Unavailable(_)));
        assert!(matches!(StoreError::from(sqlx::Error::PoolTimedOut), StoreError::Unavailable(_)));
        assert!(matches!(StoreError::from(sqlx::Error::ColumnNotFound("x".into())), StoreError::Broken(_)));
    }
}
