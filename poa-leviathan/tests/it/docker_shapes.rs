//! The answers of a Docker daemon, with every field that version 28 sends, and the names and nesting that are the same since 20.10.

use serde_json::{Value, json};

const THEN: &str = "2025-03-14T09:26:53.589793238Z";

/// A container that was created without any wish.
const INSPECTED: &str = r#"{
    "Id": "", "Created": "2025-03-14T09:26:53.589793238Z", "Path": "/bin/sh", "Args": [], "State": {},
    "Image": "sha256:abababababababababababababababababababababababababababababababab",
    "ResolvConfPath": "", "HostnamePath": "", "HostsPath": "", "LogPath": "", "Name": "", "RestartCount": 0, "Driver": "overlay2",
    "Platform": "linux", "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "docker-default", "ExecIDs": null,
    "HostConfig": {
        "Binds": null, "ContainerIDFile": "", "LogConfig": {"Type": "json-file", "Config": {}}, "NetworkMode": "bridge",
        "PortBindings": null, "RestartPolicy": {"Name": "", "MaximumRetryCount": 0}, "AutoRemove": false, "VolumeDriver": "",
        "VolumesFrom": null, "ConsoleSize": [0, 0], "CapAdd": null, "CapDrop": null, "CgroupnsMode": "private", "Dns": null,
        "DnsOptions": null, "DnsSearch": null, "ExtraHosts": null, "GroupAdd": null, "IpcMode": "private", "Cgroup": "",
        "Links": null, "OomScoreAdj": 0, "PidMode": "", "Privileged": false, "PublishAllPorts": false, "ReadonlyRootfs": false,
        "SecurityOpt": null, "UTSMode": "", "UsernsMode": "", "ShmSize": 67108864, "Runtime": "runc", "Isolation": "",
        "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": null,
        "BlkioDeviceReadBps": null, "BlkioDeviceWriteBps": null, "BlkioDeviceReadIOps": null, "BlkioDeviceWriteIOps": null,
        "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "",
        "Devices": null, "DeviceCgroupRules": null, "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0,
        "MemorySwappiness": null, "OomKillDisable": null, "PidsLimit": null, "Ulimits": null, "CpuCount": 0, "CpuPercent": 0,
        "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
        "MaskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"],
        "ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    },
    "GraphDriver": {"Data": {
        "LowerDir": "/var/lib/docker/overlay2/cd-init/diff:/var/lib/docker/overlay2/ef/diff",
        "MergedDir": "/var/lib/docker/overlay2/cd/merged", "UpperDir": "/var/lib/docker/overlay2/cd/diff",
        "WorkDir": "/var/lib/docker/overlay2/cd/work"
    }, "Name": "overlay2"},
    "Mounts": [],
    "Config": {
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false, "AttachStderr": false, "Tty": false,
        "OpenStdin": false, "StdinOnce": false, "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": null, "Image": null, "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": {}
    },
    "NetworkSettings": {
        "Bridge": "", "SandboxID": "", "SandboxKey": "", "Ports": {}, "HairpinMode": false, "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0, "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null, "EndpointID": "", "Gateway": "",
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
        "Networks": {}
    }
}"#;

/// The place of a container in a network.
const ENDPOINT: &str = r#"{
    "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "", "DriverOpts": null, "GwPriority": 0,
    "NetworkID": "1212121212121212121212121212121212121212121212121212121212121212",
    "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0, "DNSNames": null
}"#;

/// `POST /containers/create`.
pub(crate) fn created(id: &str) -> Value {
    json!({"Id": id, "Warnings": []})
}

/// An error of any request.
pub(crate) fn refused(message: &str) -> Value {
    json!({ "message": message })
}

/// `GET /containers/{id}/json`, of a container that was created from `spec` and did not run yet.
pub(crate) fn inspected(id: &str, name: &str, spec: &Value) -> Value {
    let mut container: Value = serde_json::from_str(INSPECTED).unwrap();
    container["Id"] = id.into();
    container["Name"] = format!("/{name}").into();
    for (key, file) in
        [("ResolvConfPath", "resolv.conf"), ("HostnamePath", "hostname"), ("HostsPath", "hosts")]
    {
        container[key] = format!("/var/lib/docker/containers/{id}/{file}").into();
    }
    container["State"] = stopped("created", 0);
    put(&mut container["HostConfig"], &spec["HostConfig"]);
    let config = &mut container["Config"];
    config["Hostname"] = id.get(..12).unwrap_or(id).into();
    let mut variables = spec["Env"].as_array().cloned().unwrap_or_default();
    variables.extend(config["Env"].as_array().into_iter().flatten().cloned());
    put(config, spec);
    config["Env"] = variables.into();
    container["NetworkSettings"]["Networks"] = networks(&container["HostConfig"]["NetworkMode"]);
    container
}

/// The state of a container that runs.
pub(crate) fn running(pid: u32) -> Value {
    let mut state = stopped("running", 0);
    state["Running"] = true.into();
    state["Pid"] = pid.into();
    state["StartedAt"] = THEN.into();
    state
}

/// That of one that does not.
pub(crate) fn stopped(status: &str, exit_code: u8) -> Value {
    let never = "0001-01-01T00:00:00Z";
    json!({
        "Status": status, "Running": false, "Paused": false, "Restarting": false, "OOMKilled": false, "Dead": false,
        "Pid": 0, "ExitCode": exit_code, "Error": "", "StartedAt": never, "FinishedAt": never,
    })
}

/// An entry of `GET /containers/json`, of a container as it is inspected. Some fields have another type here, such as `State`.
pub(crate) fn listed(inspected: &Value) -> Value {
    let mode = &inspected["HostConfig"]["NetworkMode"];
    json!({
        "Id": inspected["Id"], "Names": [inspected["Name"]], "Image": inspected["Config"]["Image"],
        "ImageID": inspected["Image"], "Command": inspected["Path"], "Created": 1_741_944_413, "Ports": [],
        "Labels": inspected["Config"]["Labels"], "State": inspected["State"]["Status"], "Status": "Up 2 seconds",
        "HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": networks(mode)}, "Mounts": [],
    })
}

/// A line of `GET /events`. The spelling in small letters is the old one; both are sent.
pub(crate) fn event(action: &str, inspected: &Value) -> Value {
    let (id, image) = (&inspected["Id"], &inspected["Config"]["Image"]);
    let mut attributes = inspected["Config"]["Labels"].clone();
    attributes["image"] = image.clone();
    attributes["name"] = inspected["Name"].as_str().unwrap().trim_start_matches('/').into();
    if action == "die" {
        attributes["execDuration"] = "3".into();
        attributes["exitCode"] = "137".into();
    }
    json!({
        "status": action, "id": id, "from": image, "Type": "container", "Action": action,
        "Actor": {"ID": id, "Attributes": attributes}, "scope": "local", "time": 1_741_944_413,
        "timeNano": 1_741_944_413_589_793_238_u64,
    })
}

/// Takes the fields over that both have.
fn put(into: &mut Value, asked: &Value) {
    for (name, value) in into.as_object_mut().into_iter().flatten() {
        if !asked[name].is_null() {
            *value = asked[name].clone();
        }
    }
}

fn networks(mode: &Value) -> Value {
    let endpoint: Value = serde_json::from_str(ENDPOINT).unwrap();
    json!({ mode.as_str().unwrap(): endpoint })
}
