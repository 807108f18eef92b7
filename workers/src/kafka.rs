//! Settings of the brokers in, a client configuration and readable errors out.

use candles_core::config::KafkaConfig;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::runtime::secret::{self, SecretError};

/// What every client of a worker has in common. Reads the password, if there is one.
pub fn client_config(kafka: &KafkaConfig, client_id: &str) -> Result<ClientConfig, SecretError> {
    let mut config = ClientConfig::new();
    // Without this the client asks the `log` crate, which nobody here sets up, and keeps all but errors to itself: a
    // broker that hangs up, as a TLS port does when spoken to in plain, is information only.
    config.set_log_level(RDKafkaLogLevel::Info);
    config
        .set("bootstrap.servers", kafka.bootstrap_servers.as_str())
        .set("client.id", client_id)
        .set("reconnect.backoff.max.ms", "5000")
        .set("socket.keepalive.enable", "true")
        .set("allow.auto.create.topics", "false");
    let protocol = match (&kafka.tls, &kafka.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &kafka.tls {
        config.set("ssl.endpoint.identification.algorithm", "https");
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.certificate_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (key, file) in files {
            if let Some(path) = file {
                config.set(key, path.to_string_lossy());
            }
        }
    }
    if let Some(sasl) = &kafka.sasl {
        config
            .set("sasl.mechanism", sasl.mechanism.as_str())
            .set("sasl.username", &sasl.username)
            .set("sasl.password", secret::read(&sasl.password)?.expose());
    }
    Ok(config)
}

/// `host-pid`: unique among the members of a group. In a pod, the host is the pod.
pub fn unique_client_id(worker: &str) -> String {
    let host = std::env::var("HOSTNAME")
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .unwrap_or_else(|_| "localhost".to_owned());
    format!("{}-{worker}-{}", host.trim(), std::process::id())
}

/// What a person can do about an error of the client, where its own words do not say it.
pub fn advice(error: &str) -> Option<&'static str> {
    // Texts of librdkafka 2.12 and OpenSSL 3; the first that matches speaks.
    const ADVICE: [(&str, &str); 10] = [
        ("certificate verify failed: hostname mismatch", HOST_NAME),
        ("Hostname mismatch", HOST_NAME),
        ("IP address mismatch", HOST_NAME),
        // In its handshake the client does not say which.
        (
            "certificate verify failed",
            "the broker's certificate is not signed by an authority in kafka.tls.caFile, or it is for another host \
             name than the one in kafka.bootstrapServers or the one that the broker advertises",
        ),
        ("Authentication failed", "user or password is wrong: see kafka.sasl"),
        (
            "broker might require SASL authentication",
            "does this port of the broker ask for a login? see kafka.sasl",
        ),
        ("connecting to a SSL listener", TLS),
        // The broker hung up before the first answer.
        ("in state APIVERSION_QUERY", TLS),
        ("SSL handshake failed", TLS),
        ("SSL routines", TLS),
    ];
    const TLS: &str = "does this port of the broker speak TLS? see kafka.tls and kafka.bootstrapServers";
    const HOST_NAME: &str = "the broker's certificate is for another host name than the one in \
                             kafka.bootstrapServers or the one that the broker advertises";
    ADVICE.iter().find(|(text, _)| error.contains(text)).map(|(_, advice)| *advice)
}

/// Whether waiting can mend an error: the rest is a matter of configuration, or of a single record.
pub fn is_transient(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    !matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::InvalidMessageSize
                | Code::InvalidMessage
                | Code::InvalidRecord
                | Code::InvalidArgument
        )
    )
}

/// Hands the client's own log lines to `tracing`, and its errors with advice.
pub fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    use RDKafkaLogLevel as Level;
    match level {
        Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
            tracing::error!(facility, advice = advice(line), "kafka client: {line}");
        }
        Level::Warning => tracing::warn!(facility, advice = advice(line), "kafka client: {line}"),
        Level::Notice | Level::Info => tracing::info!(facility, "kafka client: {line}"),
        Level::Debug => tracing::debug!(facility, "kafka client: {line}"),
    }
}

/// A context that only logs, for short-lived clients.
#[derive(Debug, Clone, Copy)]
pub struct Logging;

impl ConsumerContext for Logging {}

impl ClientContext for Logging {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, advice = advice(reason), "kafka client error: {reason}");
    }
}
