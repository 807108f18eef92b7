//! Options and ports in; server.properties, client properties and JVM arguments out, as text.
//! Pure: no file is touched, no port is chosen.

use std::fmt::Write as _;
use std::path::Path;

use crate::servers::pki::Pki;

/// What a test may want to have otherwise; the default is what the project's documents describe.
#[derive(Debug, Clone)]
pub struct Options {
    /// Brokers, each a controller too: 1 to 3. Internal topics are replicated to all of them.
    pub brokers: u16,
    /// Java heap of a broker, MiB; its resident memory is about as much.
    pub heap_mib_max: u32,
    /// How long the controller misses a dead or frozen broker's heartbeat before others lead its partitions, ms.
    pub broker_session_timeout_ms: u32,
    /// SCRAM-SHA-512 user of the external listener.
    pub user: String,
    /// Its password; without `,`, `]` and spaces, which Kafka's storage tool would misread.
    pub password: String,
    /// More JVM arguments of each broker. By default brokers are compiled quickly, not well (a start takes 7 s
    /// instead of 9 on 2 cores): leave it empty where a broker's own speed matters, as in benchmarks.
    pub jvm_args: Vec<String>,
    /// More lines of server.properties; the last one of a key wins.
    pub properties: Vec<(String, String)>,
    /// More plaintext listeners, each led through proxies: their ports, one for each broker, are what it advertises.
    pub lanes: Vec<Vec<u16>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: 3,
            heap_mib_max: 384,
            broker_session_timeout_ms: 6_000,
            user: "candles".to_owned(),
            password: "candles-secret".to_owned(),
            jvm_args: vec![FIRST_COMPILER_ONLY.to_owned()],
            properties: Vec::new(),
            lanes: Vec::new(),
        }
    }
}

/// Who logs in to the external listener, and whom it trusts.
#[derive(Debug, Clone)]
pub struct Login {
    /// SCRAM-SHA-512 user.
    pub user: String,
    /// Its password.
    pub password: String,
    /// PEM file of the CA that the client trusts.
    pub ca_pem: std::path::PathBuf,
}

/// Ports of one broker, all of 127.0.0.1.
#[derive(Debug, Clone)]
pub(crate) struct BrokerPorts {
    pub(crate) controller: u16,
    pub(crate) internal: u16,
    pub(crate) local: u16,
    pub(crate) external: u16,
    pub(crate) wrong_host: u16,
    /// Where the listener of each lane really is.
    pub(crate) lanes: Vec<u16>,
}

impl BrokerPorts {
    /// How many ports a broker needs, and one more for each lane.
    pub(crate) const COUNT: usize = 5;

    pub(crate) fn new([controller, internal, local, external, wrong_host]: [u16; Self::COUNT]) -> Self {
        Self { controller, internal, local, external, wrong_host, lanes: Vec::new() }
    }

    pub(crate) fn with_lanes(self, lanes: &[u16]) -> Self {
        Self { lanes: lanes.to_vec(), ..self }
    }
}

/// For processes that end before the second compiler's work would pay.
pub(crate) const FIRST_COMPILER_ONLY: &str = "-XX:TieredStopAtLevel=1";
/// Heartbeats are this many to a session.
const HEARTBEATS_PER_SESSION: u32 = 6;

/// server.properties of broker `id` (from 1).
pub(crate) fn server_properties(
    id: usize,
    ports: &[BrokerPorts],
    data: &Path,
    pki: &Pki,
    options: &Options,
) -> String {
    let own = &ports[id - 1];
    let each = |render: &dyn Fn(usize, &BrokerPorts) -> String| {
        ports.iter().enumerate().map(|(index, ports)| render(index + 1, ports)).collect::<Vec<_>>().join(",")
    };
    let clients = format!(
        "INTERNAL://127.0.0.1:{},LOCAL://127.0.0.1:{},EXTERNAL://127.0.0.1:{},WRONGHOST://127.0.0.1:{}",
        own.internal, own.local, own.external, own.wrong_host
    );
    let advertised: Vec<u16> = options.lanes.iter().map(|lane| lane[id - 1]).collect();
    let mut lines = vec![
        ("process.roles".to_owned(), "broker,controller".to_owned()),
        ("node.id".to_owned(), id.to_string()),
        (
            "controller.quorum.voters".to_owned(),
            each(&|id, ports| format!("{id}@127.0.0.1:{}", ports.controller)),
        ),
        (
            "listeners".to_owned(),
            format!("CONTROLLER://127.0.0.1:{},{clients}{}", own.controller, listeners(&own.lanes)),
        ),
        ("advertised.listeners".to_owned(), format!("{clients}{}", listeners(&advertised))),
        ("listener.security.protocol.map".to_owned(), security(options.lanes.len())),
        ("log.dirs".to_owned(), data.display().to_string()),
        ("broker.session.timeout.ms".to_owned(), options.broker_session_timeout_ms.to_string()),
        (
            "broker.heartbeat.interval.ms".to_owned(),
            (options.broker_session_timeout_ms / HEARTBEATS_PER_SESSION).to_string(),
        ),
    ];
    lines.extend(replication(options.brokers));
    lines.extend(secured("external", &pki.server));
    lines.extend(secured("wronghost", &pki.wrong_host));
    lines.extend(FIXED.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    lines.extend(options.properties.iter().cloned());
    properties(&lines)
}

/// The listeners of all lanes, each after a comma.
fn listeners(ports: &[u16]) -> String {
    (1..).zip(ports).fold(String::new(), |text, (lane, port)| format!("{text},LANE{lane}://127.0.0.1:{port}"))
}

fn security(lanes: usize) -> String {
    let fixed =
        "CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,LOCAL:PLAINTEXT,EXTERNAL:SASL_SSL,WRONGHOST:SASL_SSL";
    (1..=lanes).fold(fixed.to_owned(), |map, lane| format!("{map},LANE{lane}:PLAINTEXT"))
}

const FIXED: &[(&str, &str)] = &[
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "INTERNAL"),
    ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
    ("auto.create.topics.enable", "false"),
    ("offsets.topic.num.partitions", "3"),
    ("transaction.state.log.num.partitions", "3"),
    ("share.coordinator.state.topic.num.partitions", "3"),
    // Tests need not wait for what protects large groups from storms.
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.heartbeat.interval.ms", "500"),
    // Few threads: several brokers share a small machine.
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
    ("background.threads", "2"),
    ("log.cleaner.dedupe.buffer.size", "4194304"),
];

fn replication(brokers: u16) -> Vec<(String, String)> {
    let (all, most) = (brokers.to_string(), brokers.min(2).to_string());
    [
        ("default.replication.factor", &all),
        ("offsets.topic.replication.factor", &all),
        ("transaction.state.log.replication.factor", &all),
        ("share.coordinator.state.topic.replication.factor", &all),
        ("min.insync.replicas", &most),
        ("transaction.state.log.min.isr", &most),
        ("share.coordinator.state.topic.min.isr", &most),
    ]
    .map(|(key, value)| (key.to_owned(), value.clone()))
    .to_vec()
}

fn secured(listener: &str, key_and_chain: &Path) -> Vec<(String, String)> {
    let prefix = format!("listener.name.{listener}");
    vec![
        (format!("{prefix}.ssl.keystore.type"), "PEM".to_owned()),
        (format!("{prefix}.ssl.keystore.location"), key_and_chain.display().to_string()),
        (
            format!("{prefix}.scram-sha-512.sasl.jaas.config"),
            "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
        ),
    ]
}

/// Properties with which a Java client logs in to the external listener.
pub(crate) fn client_properties(login: &Login) -> String {
    let jaas = format!(
        "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{}\" password=\"{}\";",
        jaas_quoted(&login.user),
        jaas_quoted(&login.password)
    );
    properties(&[
        ("security.protocol".to_owned(), "SASL_SSL".to_owned()),
        ("sasl.mechanism".to_owned(), "SCRAM-SHA-512".to_owned()),
        ("sasl.jaas.config".to_owned(), jaas),
        ("ssl.truststore.type".to_owned(), "PEM".to_owned()),
        ("ssl.truststore.location".to_owned(), login.ca_pem.display().to_string()),
    ])
}

fn jaas_quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Java properties syntax; of keys only letters, digits, `.` and `-` occur here.
fn properties(lines: &[(String, String)]) -> String {
    let mut text = String::new();
    for (key, value) in lines {
        let value = value.replace('\\', "\\\\").replace('\n', "\\n");
        writeln!(text, "{key}={value}").expect("writing to a string");
    }
    text
}

/// Log4j 2 properties: everything of `level` and above to standard output or error.
pub(crate) fn log4j_properties(level: &str, target: &str) -> String {
    format!(
        "status=error\n\
         appender.console.type=Console\n\
         appender.console.name=CONSOLE\n\
         appender.console.target={target}\n\
         appender.console.layout.type=PatternLayout\n\
         appender.console.layout.pattern=[%d{{ISO8601}}] %p %m (%c)%n\n\
         rootLogger.level={level}\n\
         rootLogger.appenderRef.console.ref=CONSOLE\n"
    )
}

/// Arguments of `java` before the main class.
pub(crate) fn jvm_arguments(jars: &Path, log4j: &Path, heap_mib_max: u32) -> Vec<String> {
    vec![
        "-Xms64m".to_owned(),
        format!("-Xmx{heap_mib_max}m"),
        "-XX:+UseSerialGC".to_owned(),
        "-Djava.awt.headless=true".to_owned(),
        format!("-Dlog4j2.configurationFile={}", log4j.display()),
        "-cp".to_owned(),
        format!("{}/*", jars.display()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pki() -> Pki {
        Pki {
            ca: "ca.pem".into(),
            other_ca: "other.pem".into(),
            server: "server.pem".into(),
            wrong_host: "wrong.pem".into(),
        }
    }

    fn rendered(id: usize, options: &Options) -> String {
        let ports = [[1, 2, 3, 4, 5], [11, 12, 13, 14, 15], [21, 22, 23, 24, 25]].map(BrokerPorts::new);
        let ports = &ports[..usize::from(options.brokers)];
        server_properties(id, ports, Path::new("data"), &pki(), options)
    }

    fn value<'a>(text: &'a str, key: &str) -> &'a str {
        let of_key = |line: &'a str| line.split_once('=').filter(|(k, _)| *k == key).map(|(_, value)| value);
        text.lines().rev().find_map(of_key).unwrap_or_else(|| panic!("{key} in\n{text}"))
    }

    #[test]
    fn broker_has_every_listener_and_knows_all_voters() {
        let text = rendered(2, &Options::default());
        assert_eq!(value(&text, "node.id"), "2");
        assert_eq!(value(&text, "controller.quorum.voters"), "1@127.0.0.1:1,2@127.0.0.1:11,3@127.0.0.1:21");
        assert_eq!(
            value(&text, "listeners"),
            "CONTROLLER://127.0.0.1:11,INTERNAL://127.0.0.1:12,LOCAL://127.0.0.1:13,\
             EXTERNAL://127.0.0.1:14,WRONGHOST://127.0.0.1:15"
        );
        assert!(!value(&text, "advertised.listeners").contains("CONTROLLER"));
        assert_eq!(value(&text, "listener.name.external.ssl.keystore.location"), "server.pem");
        assert_eq!(value(&text, "listener.name.wronghost.ssl.keystore.location"), "wrong.pem");
    }

    #[test]
    fn a_lane_listens_at_its_port_and_advertises_its_proxy() {
        let ports = [[1, 2, 3, 4, 5], [11, 12, 13, 14, 15]].map(BrokerPorts::new);
        let ports = ports.map(|ports| ports.with_lanes(&[6, 7]));
        let options =
            Options { brokers: 2, lanes: vec![vec![100, 101], vec![200, 201]], ..Options::default() };
        let text = server_properties(2, &ports, Path::new("data"), &pki(), &options);
        assert!(value(&text, "listeners").ends_with(",LANE1://127.0.0.1:6,LANE2://127.0.0.1:7"));
        let advertised = value(&text, "advertised.listeners");
        assert!(advertised.ends_with(",LANE1://127.0.0.1:101,LANE2://127.0.0.1:201"), "{advertised}");
        let security = value(&text, "listener.security.protocol.map");
        assert!(security.ends_with(",LANE1:PLAINTEXT,LANE2:PLAINTEXT"));
    }

    #[test]
    fn one_broker_asks_for_no_more_replicas_than_there_are() {
        let text = rendered(1, &Options { brokers: 1, ..Options::default() });
        for key in ["default.replication.factor", "min.insync.replicas", "transaction.state.log.min.isr"] {
            assert_eq!(value(&text, key), "1", "{key}");
        }
        let text = rendered(1, &Options::default());
        assert_eq!(value(&text, "offsets.topic.replication.factor"), "3");
        assert_eq!(value(&text, "min.insync.replicas"), "2");
    }

    #[test]
    fn properties_of_the_caller_come_last_and_win() {
        let properties = vec![("num.io.threads".to_owned(), "1".to_owned())];
        let text = rendered(1, &Options { properties, ..Options::default() });
        assert_eq!(value(&text, "num.io.threads"), "1");
    }

    #[test]
    fn password_is_quoted_for_jaas_and_then_for_properties() {
        let login = Login { user: "u".into(), password: r#"a"b\c"#.into(), ca_pem: "ca.pem".into() };
        let text = client_properties(&login);
        // JAAS reads a\"b\\c; the properties file doubles each backslash.
        assert!(value(&text, "sasl.jaas.config").contains(r#"password="a\\"b\\\\c""#), "{text}");
    }
}
