//! What the URL of the database says about several servers, as libpq reads it (PostgreSQL manual, chapter "Database
//! Connection Control Functions", "Specifying Multiple Hosts"). Pure. No error repeats a part of the URL: where a
//! password holds a character that should have been written as `%XX`, any part may be of the password.

use anyhow::{Context, bail, ensure};

const ATTRIBUTE: &str = "target_session_attrs";

/// Which servers will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Any,
    /// One whose sessions may write: neither a standby nor set to read-only.
    ReadWrite,
    /// One that is no standby.
    Primary,
}

/// A URL with one host for each server, in the order in which they are named.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub urls: Vec<String>,
    pub role: Role,
}

/// A URL with one host that asks for no role stays as it is.
pub(super) fn read(url: &str) -> anyhow::Result<Named> {
    let (scheme, rest) = url.split_once("://").context("the database URL must begin with postgres://")?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.rfind('@').map_or(("", authority), |at| authority.split_at(at + 1));
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let named = |key: &str| query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key);
    let value = |key: &str| named(key).map(|(_, value)| value);
    let asked = value(ATTRIBUTE);
    let in_query = value("host").filter(|hosts| hosts.contains(','));
    let hosts: Vec<String> = match in_query {
        Some(listed) => with_ports(listed, value("port"))?,
        None => hosts.split(',').map(str::to_owned).collect(),
    };
    let role = role(asked, hosts.len())?;
    if hosts.len() == 1 && asked.is_none() {
        return Ok(Named { urls: vec![url.to_owned()], role });
    }
    if hosts.len() > 1 {
        ensure!(
            !user.is_empty() || !tail.contains('@'),
            "the database URL: write @, /, ? and # of names and passwords as %40, %2F, %3F and %23"
        );
        for (place, host) in (1..).zip(&hosts) {
            check(host).with_context(|| format!("host {place} of the database URL"))?;
        }
    }
    let is_ours = |name: &str| name == ATTRIBUTE || in_query.is_some() && matches!(name, "host" | "port");
    let left = query.split('&').filter(|pair| !pair.is_empty() && !is_ours(pair.split('=').next().unwrap_or(pair)));
    let left = left.collect::<Vec<_>>().join("&");
    let query = if left.is_empty() { left } else { format!("?{left}") };
    let urls = hosts.iter().map(|host| format!("{scheme}://{user}{host}{path}{query}")).collect();
    Ok(Named { urls, role })
}

/// Several hosts are there because one of them takes the writes, and the collector writes.
fn role(asked: Option<&str>, hosts: usize) -> anyhow::Result<Role> {
    Ok(match asked {
        None if hosts == 1 => Role::Any,
        None | Some("read-write") => Role::ReadWrite,
        Some("primary") => Role::Primary,
        Some("any") => Role::Any,
        Some("read-only" | "standby" | "prefer-standby") => {
            bail!("{ATTRIBUTE} of the database URL asks for a server that takes no writes: say read-write or primary")
        }
        Some(_) => bail!("{ATTRIBUTE} of the database URL: expected read-write, primary or any"),
    })
}

/// The lists of the parameters `host` and `port`; one port is the port of all.
fn with_ports(hosts: &str, ports: Option<&str>) -> anyhow::Result<Vec<String>> {
    let hosts: Vec<&str> = hosts.split(',').collect();
    let ports: Vec<&str> = ports.map(|ports| ports.split(',').collect()).unwrap_or_default();
    ensure!(
        ports.len() <= 1 || ports.len() == hosts.len(),
        "the database URL names {} hosts and {} ports: expected one port, or one for each host",
        hosts.len(),
        ports.len()
    );
    let port = |place: usize| ports.get(if ports.len() == 1 { 0 } else { place }).filter(|port| !port.is_empty());
    Ok((0..)
        .zip(hosts)
        .map(|(place, host)| host.to_owned() + &port(place).map_or(String::new(), |it| format!(":{it}")))
        .collect())
}

/// `name`, `name:port`, `[::1]:port`, or a folder of sockets as `%2Fvar%2Frun`.
fn check(host: &str) -> anyhow::Result<()> {
    let behind_name = host.rfind(']').map_or(0, |at| at + 1);
    let (name, port) = match host[behind_name..].find(':') {
        Some(at) => (&host[..behind_name + at], Some(&host[behind_name + at + 1..])),
        None => (host, None),
    };
    ensure!(!name.is_empty(), "is empty");
    ensure!(!name.contains(':') || name.starts_with('['), "write an IPv6 address in brackets");
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    ensure!(port.is_none_or(is_port), "its port is no number from 1 to 65535");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(url: &str) -> (Vec<String>, Role) {
        let Named { urls, role } = read(url).unwrap();
        (urls, role)
    }

    #[test]
    fn one_host_stays_as_it_is() {
        for url in [
            "postgres://me:s3cret@db/runs?sslmode=require",
            "postgres:///runs?host=/var/run/postgresql&port=5433",
            "postgresql://me@%2Fvar%2Frun%2Fpostgresql/runs",
            "postgres://user@hostname:password@hostname:5432/database",
            "postgres://",
        ] {
            assert_eq!(urls(url), (vec![url.to_owned()], Role::Any), "{url}");
        }
        let asked = urls("postgres://me@db/runs?a=b&target_session_attrs=primary&sslmode=require");
        assert_eq!(asked, (vec!["postgres://me@db/runs?a=b&sslmode=require".to_owned()], Role::Primary));
        assert_eq!(urls("postgres://db?target_session_attrs=any"), (vec!["postgres://db".to_owned()], Role::Any));
    }

    #[test]
    fn several_hosts_become_a_url_each() {
        let (several, role) =
            urls("postgres://u:p%40@h1:5432,h2,[::1]:5433/db?target_session_attrs=read-write&sslmode=disable");
        assert_eq!(
            several,
            [
                "postgres://u:p%40@h1:5432/db?sslmode=disable",
                "postgres://u:p%40@h2/db?sslmode=disable",
                "postgres://u:p%40@[::1]:5433/db?sslmode=disable",
            ]
        );
        assert_eq!(role, Role::ReadWrite);
        // A collector writes, so that is what several hosts without a word mean.
        assert_eq!(urls("postgres://h1,h2/db").1, Role::ReadWrite);
        assert_eq!(urls("postgres://h1,h2/db?target_session_attrs=any").1, Role::Any);
    }

    #[test]
    fn hosts_may_stand_in_the_query() {
        let expected = vec!["postgres://u@h1:1/db?a=b".to_owned(), "postgres://u@h2:2/db?a=b".to_owned()];
        assert_eq!(urls("postgres://u@/db?host=h1,h2&a=b&port=1,2").0, expected);
        let expected = vec!["postgres://h1:9/db".to_owned(), "postgres://h2:9/db".to_owned()];
        assert_eq!(urls("postgres:///db?host=h1,h2&port=9").0, expected);
    }

    #[test]
    fn what_is_wrong_is_named_and_the_password_is_not() {
        for (url, told) in [
            ("postgres://u:s3cret@h1:5432,h2:54x/db", "host 2 of the database URL: its port is no number"),
            ("postgres://u:s3cret@h1:0,h2/db", "host 1 of the database URL: its port is no number"),
            ("postgres://u:s3cret@h1,,h3/db", "host 2 of the database URL: is empty"),
            ("postgres://u:s3cret@h1,::1/db", "host 2 of the database URL: is empty"),
            ("postgres://u:s3cret@h1,h2/db?target_session_attrs=s3cret", "expected read-write, primary or any"),
            ("postgres://u:s3cret@h1/db?target_session_attrs=standby", "takes no writes"),
            ("postgres://u:s3cret@/db?host=a,b,c&port=1,2", "3 hosts and 2 ports"),
            ("u:s3cret@h1", "must begin with postgres://"),
            ("postgres://u:1,s3cret/@h1,h2/db", "%2F"),
            ("postgres://u:1,s3cret#@h1,h2/db", "%23"),
        ] {
            let error = read(url).map(|named| panic!("{url}: {named:?}")).unwrap_err();
            let text = format!("{error:#}");
            assert!(text.contains(told), "{url}: {text}");
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}
