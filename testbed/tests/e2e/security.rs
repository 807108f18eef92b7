//! Encrypted and authenticated connections, what is refused in clear words, and other people's clients.

use candles_testbed::servers::shared;

use crate::consumer_faults::says;
use crate::golden;
use crate::pipeline::{OtherClient, PARTITION, PASSWORD_VARIABLE, Pipeline, eventually};

const CANDLES: &str = "candles: {intervals: [2m]}\n";

fn secured(bootstrap: &str, ca: &std::path::Path, user: &str) -> String {
    format!(
        "{{bootstrapServers: '{bootstrap}', tls: {{caFile: '{}'}}, \
         sasl: {{mechanism: SCRAM-SHA-512, username: {user}, password: {{env: {PASSWORD_VARIABLE}}}}}}}",
        ca.display()
    )
}

#[tokio::test]
async fn the_external_listener_works_with_scram_and_a_second_registry() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "secured", 2, &[golden::SYMBOL]).await;
    pipeline.more = CANDLES.to_owned();
    pipeline.kafka =
        secured(&bed.kafka.bootstrap_external(), bed.kafka.ca_pem_path(), &bed.kafka.login().user);
    pipeline.registry = bed.axonops.url().to_owned();
    let client = OtherClient::new(&pipeline).await;
    client.golden(1, async |_| ()).await;
    // Dead letters go the same way.
    client.value(PARTITION, golden::SYMBOL, b"not avro");
    client.flush();
    let consumer = pipeline.worker("consumer", "consumer").await;
    pipeline.expect_golden().await;
    assert_eq!(pipeline.dead_letters(1).await[0].0, "undecodable");
    pipeline.expect_committed().await;
    consumer.stop().await.unwrap();
    let log = consumer.log();
    for secret in [bed.kafka.login().password.as_str(), bed.influxdb.token()] {
        assert!(!log.contains(secret), "a secret in the log: {log}");
    }
}

#[tokio::test]
async fn wrong_logins_and_certificates_are_refused_in_clear_words() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "refused", 2, &[golden::SYMBOL]).await;
    let (external, user) = (bed.kafka.bootstrap_external(), bed.kafka.login().user.clone());
    let (ca, other_ca) = (bed.kafka.ca_pem_path(), bed.kafka.other_ca_pem_path());
    let plain_to_tls = format!("{{bootstrapServers: '{external}'}}");
    let tls_to_plain = format!("{{bootstrapServers: '{}', tls: {{}}}}", bed.kafka.bootstrap());
    let cases = [
        ("user", secured(&external, ca, "nobody"), "user or password is wrong: see kafka.sasl"),
        ("ca", secured(&external, other_ca, &user), "not signed by an authority in kafka.tls.caFile"),
        ("host", secured(&bed.kafka.bootstrap_wrong_host(), ca, &user), "or it is for another host name"),
        ("plain-to-tls", plain_to_tls, "does this port of the broker speak TLS?"),
        ("tls-to-plain", tls_to_plain, "does this port of the broker speak TLS?"),
    ];
    for (name, kafka, advice) in cases {
        pipeline.kafka = kafka;
        let consumer = pipeline.start("consumer", name);
        says(&consumer, &["kafka: ", advice, "127.0.0.1"]).await;
        eventually("the log says it too", true, async || consumer.log().contains(advice)).await;
        consumer.stop().await.unwrap();
        assert!(consumer.log().contains("consumer stopped"), "{name}: {}", consumer.log());
    }
}

#[tokio::test]
async fn a_topic_that_is_missing_is_waited_for_and_said() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "missing", 2, &[golden::SYMBOL]).await;
    pipeline.topic = "missing-yet".to_owned();
    pipeline.more = CANDLES.to_owned();
    let consumer = pipeline.start("consumer", "consumer");
    says(&consumer, &["kafka: topic missing-yet does not exist; create it, or correct topic.name"]).await;
    // And it stays said.
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    says(&consumer, &["kafka: topic missing-yet does not exist"]).await;
    bed.kafka.create_topic("missing-yet", 2, 3, &[]).await.unwrap();
    OtherClient::new(&pipeline).await.golden(1, async |_| ()).await;
    pipeline.expect_golden().await;
    consumer.wait_ready().await.unwrap();
    consumer.stop().await.unwrap();
}

#[tokio::test]
async fn javas_console_consumer_and_the_registrys_api_show_our_records() {
    let bed = shared::lease().await.unwrap();
    let pipeline = Pipeline::new(&bed, "shown", 2, &[golden::SYMBOL]).await;
    let client = OtherClient::new(&pipeline).await;
    client.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    client.trades(PARTITION, golden::SYMBOL, &golden::trades()[..20]);
    let bootstrap = bed.kafka.bootstrap();
    let args =
        ["--bootstrap-server", &bootstrap, "--topic", "shown", "--from-beginning", "--timeout-ms", "20000"];
    let more = ["--max-messages", "21", "--formatter-property", "print.key=true"];
    let tool = bed.kafka.tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
    let output = tool.args(args.into_iter().chain(more)).run().await.unwrap();
    assert_eq!(output.stdout.matches(golden::SYMBOL).count(), 41, "{}{}", output.stdout, output.stderr);
    for url in
        [format!("schemas/ids/{}", client.schema_id), "subjects/shown-value/versions/latest".to_owned()]
    {
        let answer =
            reqwest::get(format!("{}/{url}", pipeline.registry)).await.unwrap().text().await.unwrap();
        assert!(answer.contains("dev.candles") && answer.contains("timestamp-millis"), "{url}: {answer}");
    }
}
