use poa_testkit::Samples;
use serde_json::json;

use super::body::{Figure, Update};
use super::read;

fn update(data_type: &str, json: &str) -> Update {
    read(&Samples::default().json("a", data_type, json)).unwrap().update
}

#[test]
fn statistics_mean_what_their_data_type_says() {
    let chain = r#"{"type":"statistics","body":{"active":true,"gasPrice":1000000000,"peers":"5",
        "syncing":{"currentBlock":"0x44ee0","highestBlock":"0x44ee2","startingBlock":"0x40ad3"}}}"#;
    let Update::Chain(chain) = update("ethereum_metrics", chain) else { panic!("no chain") };
    assert_eq!(
        serde_json::to_value(&chain).unwrap(),
        json!({"peers": 5.0, "hashrate": null, "gas_price": 1e9, "uptime": null, "mining": null,
            "syncing": {"on": true, "current": 282_336.0, "highest": 282_338.0}})
    );
    let load =
        r#"{"type":"statistics","body":{"cpu_load":30.5,"disk_usage":17,"memory_usage":0.134}}"#;
    let Update::System(load) = update("system_metrics", load) else { panic!("no load") };
    assert_eq!((load.cpu, load.disk), (Figure(Some(30.5)), Figure(Some(17.0))));
    assert!((load.memory.0.unwrap() - 13.4).abs() < 1e-9, "a fraction becomes percent");
}

#[test]
fn a_view_survives_being_stored() {
    for syncing in ["false", "true", "null", r#"{"currentBlock":1}"#] {
        let json = format!(r#"{{"type":"statistics","body":{{"syncing":{syncing}}}}}"#);
        let Update::Chain(chain) = update("ethereum_metrics", &json) else { panic!("no chain") };
        let stored = serde_json::to_string(&chain).unwrap();
        let read: super::body::Chain = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, chain, "{stored}");
    }
}

#[test]
fn strange_bodies_change_nothing() {
    for body in ["null", "[1,2]", "7", r#""text""#, r#"{"cpu_load":1e999}"#] {
        let json = format!(r#"{{"type":"statistics","body":{body}}}"#);
        assert_eq!(update("system_metrics", &json), Update::Nothing, "{body}");
    }
}

#[test]
fn any_object_is_read() {
    let mut samples = Samples::default();
    for json in
        ["{}", r#"{"type":7,"body":{}}"#, r#"{"type":"a","type":"b"}"#, r#"{"":1,"a":[],"a":{}}"#]
    {
        let message = samples.json("a", "ethereum_metrics", json);
        assert_eq!(read(&message).unwrap().json, json);
    }
    assert!(read(&samples.json("a", "ethereum_metrics", r#"{"type":"#)).is_err());
}
