use super::*;

fn parse(url: &str) -> Location {
    Location::parse(url).unwrap()
}

fn refused(url: &str) -> String {
    Location::parse(url).unwrap_err()
}

fn file() -> Authorities {
    Authorities::File("/etc/my ca.pem".into())
}

#[test]
fn shows_everything_but_the_password() {
    for url in [
        "postgres://me:hunter2@db:5433/stats?sslmode=require",
        "postgresql://me@db:5433/stats?password=hunter2",
    ] {
        let location = parse(url);
        assert_eq!(location.to_string(), "postgres://me@db:5433/stats");
        assert!(!format!("{location:?}").contains("hunter2"));
    }
    assert_eq!(parse("postgres://%2Fvar%2Frun/stats").to_string(), "postgres:///var/run/stats");
    assert_eq!(parse("postgres:///stats?host=%2Frun").to_string(), "postgres:///run/stats");
    assert_eq!(parse("postgres://u@a,b:7/d").to_string(), "postgres://u@a:5432,b:7/d");
}

#[test]
fn sslmode_determines_the_checks() {
    use SslMode::{Disable, Prefer, Require};
    let root = "sslrootcert=%2Fetc%2Fmy%20ca.pem";
    let cases: [(&str, &[SslMode], Trust); 10] = [
        ("", &[Prefer, Disable], Trust::Anybody),
        ("?sslmode=allow", &[Disable, Require], Trust::Anybody),
        ("?sslmode=disable", &[Disable], Trust::Anybody),
        ("?sslmode=require", &[Require], Trust::Anybody),
        ("?ssl=true", &[Require], Trust::Anybody),
        ("?sslsni=0&ssl=false", &[Prefer, Disable], Trust::Anybody),
        (&format!("?sslmode=require&{root}"), &[Require], Trust::Signed(file())),
        ("?sslmode=verify-ca", &[Require], Trust::Signed(Authorities::System)),
        (&format!("?{root}&sslmode=verify-full"), &[Require], Trust::Named(file())),
        ("?sslmode=verify-full&sslrootcert=system", &[Require], Trust::Named(Authorities::System)),
    ];
    for (options, modes, trust) in cases {
        let location = parse(&format!("postgres://u@db/d{options}"));
        assert_eq!((location.modes, location.tls.trust), (modes, trust), "{options}");
    }
}

#[test]
fn certificates_versions_and_password_files_follow_libpq() {
    let location = parse(
        "postgres://u@db?sslcert=a.crt&sslkey=a.key&sslcrl=r.pem&passfile=p&ssl_min_protocol_version=TLSv1.3&sslsni=0",
    );
    assert_eq!(location.tls.client, Some(("a.crt".into(), "a.key".into())));
    assert_eq!((location.tls.revoked, location.passfile), (Some("r.pem".into()), Some("p".into())));
    assert_eq!(location.tls.versions, Versions { tls12: false, tls13: true });
    assert!(!location.tls.names_host);
    assert_eq!(parse("postgres://u@db?sslcert=a&sslkey=b&sslcertmode=disable").tls.client, None);
    assert!(refused("postgres://u@db?sslcert=a.crt").contains("`sslcert` needs `sslkey`"));
    assert!(
        refused("postgres://u@db?ssl_max_protocol_version=TLSv1.1").contains("must be TLSv1.2")
    );
}

#[test]
fn other_options_go_to_the_driver() {
    let location = parse(
        "postgres://u@db/d?connect_timeout=3&sslmode=disable&application_name=me&keepalives_count=7",
    );
    assert_eq!(location.driver.get_connect_timeout(), Some(&Duration::from_secs(3)));
    assert_eq!(location.driver.get_application_name(), Some("me"));
    assert_eq!(location.driver.get_keepalives_retries(), Some(7));
    assert_eq!(parse("postgres://db").driver.get_connect_timeout(), Some(&CONNECT_TIMEOUT));
    assert_eq!(parse("postgres://db?user=me").driver.get_user(), Some("me"));
    let idle = |url| parse(url).driver.get_keepalives_idle().as_secs();
    assert_eq!(idle("postgres://db"), 10);
    assert_eq!(idle("postgres://db?keepalives_idle=60"), 60);
    let name = |url| parse(url).driver.get_application_name().map(str::to_owned);
    assert_eq!(name("postgres://db?fallback_application_name=x").as_deref(), Some("x"));
}

#[test]
fn options_that_cannot_be_used_are_named_with_the_cure() {
    for (option, expected) in [
        ("gssencmode=require", "`gssencmode` must be disable or prefer"),
        ("service=x", "the option `service` is not supported; write what the service file has"),
        ("sslpassword=x", "the option `sslpassword` is not supported; store the key without"),
        ("client_encoding=latin1", "`client_encoding` must be UTF8"),
        ("connect_timeout=soon", "the option `connect_timeout` has a value that is not valid"),
        ("pgbouncer=true", "has an option that is not known; remove it"),
    ] {
        let error = refused(&format!("postgres://u@db?{option}"));
        assert!(error.contains(expected), "{option}: {error}");
    }
    parse(
        "postgres://u@db?gssencmode=disable&client_encoding=UTF8&sslcompression=0&sslcertmode=allow",
    );
}

#[test]
fn unreadable_urls_are_explained_without_showing_them() {
    for url in [
        "mysql://u:hunter2@db",
        "postgres://u:h@db:hunter2",
        "postgres://u:h@db/d?hunter2=1",
        "postgres://u:h@db/d?hunter2",
        "postgres://u@db?sslmode=hunter2",
        "postgres://u@db?sslrootcert=%hunter2",
        "postgres:///hunter2",
        "postgres://u:hunter2\n@db",
    ] {
        let error = refused(url);
        assert!(!error.contains("hunter2"), "{error}");
    }
}

/// As in <https://github.com/prisma/prisma-engines/issues/1804>: a password from the environment goes into the URL verbatim.
#[test]
fn a_password_is_used_whole_or_refused_and_never_shown_in_part() {
    let reserved = "@/:?#[]!$&'()*+,;=% \\\"<>^`{|}~-._";
    for sign in reserved.chars() {
        for password in [
            format!("s3cr{sign}Horse7"),
            format!("12{sign}34{sign}Horse7"),
            format!("{sign}Horse7{sign}"),
        ] {
            let said = match Location::parse(&format!("postgres://u:{password}@127.0.0.1:1/d")) {
                Ok(location) => {
                    let taken = location.driver.get_password().unwrap();
                    assert_eq!(taken, password.as_bytes(), "{sign}");
                    format!("{location} {location:?}")
                }
                Err(error) => error,
            };
            assert!(!said.contains("Horse") && !said.contains("s3cr"), "{sign}: {said}");
        }
    }
    for sign in ['@', '/', '?', '%'] {
        let error = refused(&format!("postgres://u:s3cr{sign}Horse7@127.0.0.1:1/d"));
        let code = format!("%{:02X}", sign as u32);
        assert!(error.contains(&code) && error.contains("write `password` as a key"), "{error}");
    }
}
