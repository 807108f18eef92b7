//! The vocabulary of faults: what can break, whom it concerns, and how long it usually lasts.

use std::fmt;
use std::time::Duration;

/// What breaks. The comments say what is done; `act.rs` does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// SIGKILL of a producer, started again later.
    ProducerKill,
    /// SIGSTOP of a producer, SIGCONT later.
    ProducerFreeze,
    /// SIGTERM of a producer, started again later.
    ProducerStop,
    /// One of two producers is killed for good.
    OneOfTwoProducersKill,
    /// One of two producers is frozen and thawed.
    OneOfTwoProducersFreeze,
    /// One of two producers cannot reach the exchange.
    OneOfTwoProducersCutOff,
    /// SIGKILL of a consumer, started again later.
    ConsumerKill,
    /// SIGKILL of a producer again and again, each time a little later.
    ProducerKillsInARow,
    /// SIGKILL of a consumer again and again, each time a little later.
    ConsumerKillsInARow,
    /// SIGKILL of all consumers at once, started again later.
    ConsumersKillAll,
    /// SIGSTOP of a consumer beyond its session's timeout, SIGCONT later: a zombie.
    ConsumerZombie,
    /// SIGTERM of a consumer, started again later.
    ConsumerStop,
    /// One consumer more, then two less.
    Scale,
    /// A consumer joins and leaves, again and again.
    RebalanceStorm,
    /// An administrator sets the group's offsets back to the start, or into the middle, without metadata.
    OffsetsReset,
    /// Records are deleted that no consumer has read, as by retention.
    RecordsDeleted,
    /// The topic gets more partitions: symbols move to others.
    TopicGrows,
    /// Records that nobody can read, from a foreign client.
    Poison,
    /// Connections to all brokers are reset.
    KafkaReset,
    /// One broker cannot be reached by the workers.
    KafkaOneRefused,
    /// No broker can be reached by the workers.
    KafkaAllRefused,
    /// No broker can be reached for longer than a session of the group: every member is expelled.
    KafkaAwayLong,
    /// Brokers answer late and slowly.
    KafkaSlow,
    /// Requests reach the brokers, answers do not come back.
    KafkaNoAnswers,
    /// Requests do not reach the brokers; connections stay open.
    KafkaNoRequests,
    /// Everything arrives in small pieces.
    KafkaSlices,
    /// SIGKILL of a broker, started again later.
    BrokerKill,
    /// SIGKILL of two brokers.
    BrokersKillTwo,
    /// SIGKILL of all brokers one after the other, started again in that order: the oldest state first.
    BrokersKillAll,
    /// SIGSTOP of a broker beyond its session, SIGCONT later.
    BrokerFreeze,
    /// SIGKILL of the database, started again later.
    InfluxKill,
    /// SIGSTOP of the database, SIGCONT later.
    InfluxFreeze,
    /// The database is reached late and slowly.
    InfluxSlow,
    /// The database stores, its answer is lost.
    InfluxAnswersLost,
    /// Connections to the database stay open and nothing passes.
    InfluxHalfOpen,
    /// The database answers 429.
    Influx429,
    /// The database answers 500.
    Influx500,
    /// The database answers 503.
    Influx503,
    /// The database answers 401.
    Influx401,
    /// The database answers 404.
    Influx404,
    /// The registry cannot be reached while a producer and a consumer start.
    RegistryRefused,
    /// The registry answers 500 while a producer and a consumer start.
    Registry500,
    /// Sockets to the exchange are reset.
    ExchangeReset,
    /// Sockets to the exchange stay open and nothing comes.
    ExchangeHalfOpen,
    /// Neither socket nor history of the exchange can be reached.
    ExchangeRefused,
    /// Sockets to the exchange bring everything in small pieces, late.
    ExchangeSlices,
    /// Frames are lost on the way: a hole in the sequence.
    ExchangeLostFrames,
    /// Trades of which only the first or only the second frame ever comes; frames twice; frames out of order.
    ExchangeOddFrames,
    /// Frames that are none.
    ExchangeGarbage,
    /// The exchange announces a restart.
    ExchangeRestart,
    /// Maintenance: nothing trades, nothing is served.
    ExchangeMaintenance,
    /// Sockets are cut and history answers 500, garbage, an empty list or late.
    ExchangeBadHistory,
    /// More trades in one ms than history can show, while no socket is open: a gap that nobody can fill.
    ExchangeUnfillable,
}

/// Faults by name, all of them.
pub const ALL: &[(Fault, &str)] = &[
    (Fault::ProducerKill, "producer-kill"),
    (Fault::ConsumerKill, "consumer-kill"),
    (Fault::InfluxKill, "influx-kill"),
    (Fault::BrokerKill, "broker-kill"),
    (Fault::ExchangeReset, "exchange-reset"),
    (Fault::OneOfTwoProducersKill, "one-of-two-producers-kill"),
    (Fault::KafkaReset, "kafka-reset"),
    (Fault::ConsumerZombie, "consumer-zombie"),
    (Fault::InfluxAnswersLost, "influx-answers-lost"),
    (Fault::ExchangeLostFrames, "exchange-lost-frames"),
    (Fault::Scale, "scale"),
    (Fault::Poison, "poison"),
    (Fault::ProducerFreeze, "producer-freeze"),
    (Fault::ProducerStop, "producer-stop"),
    (Fault::OneOfTwoProducersFreeze, "one-of-two-producers-freeze"),
    (Fault::OneOfTwoProducersCutOff, "one-of-two-producers-cut-off"),
    (Fault::ConsumersKillAll, "consumers-kill-all"),
    (Fault::ConsumerStop, "consumer-stop"),
    (Fault::RebalanceStorm, "rebalance-storm"),
    (Fault::OffsetsReset, "offsets-reset"),
    (Fault::RecordsDeleted, "records-deleted"),
    (Fault::TopicGrows, "topic-grows"),
    (Fault::KafkaOneRefused, "kafka-one-refused"),
    (Fault::KafkaAllRefused, "kafka-all-refused"),
    (Fault::KafkaSlow, "kafka-slow"),
    (Fault::KafkaNoAnswers, "kafka-no-answers"),
    (Fault::KafkaNoRequests, "kafka-no-requests"),
    (Fault::KafkaSlices, "kafka-slices"),
    (Fault::BrokersKillTwo, "brokers-kill-two"),
    (Fault::BrokersKillAll, "brokers-kill-all"),
    (Fault::BrokerFreeze, "broker-freeze"),
    (Fault::InfluxFreeze, "influx-freeze"),
    (Fault::InfluxSlow, "influx-slow"),
    (Fault::InfluxHalfOpen, "influx-half-open"),
    (Fault::Influx429, "influx-429"),
    (Fault::Influx500, "influx-500"),
    (Fault::Influx503, "influx-503"),
    (Fault::Influx401, "influx-401"),
    (Fault::Influx404, "influx-404"),
    (Fault::RegistryRefused, "registry-refused"),
    (Fault::Registry500, "registry-500"),
    (Fault::ExchangeHalfOpen, "exchange-half-open"),
    (Fault::ExchangeRefused, "exchange-refused"),
    (Fault::ExchangeSlices, "exchange-slices"),
    (Fault::ExchangeOddFrames, "exchange-odd-frames"),
    (Fault::ExchangeGarbage, "exchange-garbage"),
    (Fault::ExchangeRestart, "exchange-restart"),
    (Fault::ExchangeMaintenance, "exchange-maintenance"),
    (Fault::ExchangeBadHistory, "exchange-bad-history"),
    (Fault::ExchangeUnfillable, "exchange-unfillable"),
    (Fault::ProducerKillsInARow, "producer-kills-in-a-row"),
    (Fault::ConsumerKillsInARow, "consumer-kills-in-a-row"),
    (Fault::KafkaAwayLong, "kafka-away-long"),
];

impl Fault {
    /// By name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.iter().find(|(_, known)| *known == name).map(|(fault, _)| *fault)
    }

    /// It hits servers that all runs share, so that no other run may be under way.
    pub fn is_exclusive(self) -> bool {
        use Fault::{BrokerFreeze, BrokerKill, BrokersKillAll, BrokersKillTwo};
        matches!(self, BrokerKill | BrokersKillTwo | BrokersKillAll | BrokerFreeze)
    }

    /// It may come beside another fault: it needs nothing that another one takes away.
    pub fn combines(self) -> bool {
        let needs_all_for_itself = matches!(
            self,
            Self::OneOfTwoProducersKill
                | Self::OneOfTwoProducersFreeze
                | Self::OneOfTwoProducersCutOff
                | Self::ProducerKillsInARow
                | Self::ConsumerKillsInARow
                | Self::ConsumersKillAll
                | Self::Scale
                | Self::RebalanceStorm
                | Self::OffsetsReset
                | Self::RecordsDeleted
                | Self::TopicGrows
                | Self::KafkaAwayLong
                | Self::RegistryRefused
                | Self::Registry500
                | Self::ExchangeUnfillable
        );
        !self.is_exclusive() && !needs_all_for_itself
    }

    /// Both cannot be on at once: one starts consumers that the other needs to be gone, or removes what it injected.
    pub fn excludes(self, other: Self) -> bool {
        let needs_them_gone = |fault| matches!(fault, Self::OffsetsReset | Self::RecordsDeleted);
        let touches = |fault| {
            matches!(fault, Self::ConsumerKill | Self::ConsumerStop | Self::ConsumerZombie | Self::Poison)
        };
        (needs_them_gone(self) && touches(other)) || (needs_them_gone(other) && touches(self))
    }

    /// Two producers run.
    pub fn needs_two_producers(self) -> bool {
        use Fault::{OneOfTwoProducersCutOff, OneOfTwoProducersFreeze, OneOfTwoProducersKill};
        matches!(self, OneOfTwoProducersCutOff | OneOfTwoProducersFreeze | OneOfTwoProducersKill)
    }

    /// Trading that it needs to be seen in, if more than usual.
    pub fn needs_trading(self) -> Duration {
        match self {
            // Producers look for more partitions every 30 s.
            Self::TopicGrows => Duration::from_secs(42),
            Self::KafkaAwayLong => Duration::from_secs(26),
            _ => Duration::ZERO,
        }
    }

    /// How long it lasts: least and most.
    pub fn lasts(self) -> (Duration, Duration) {
        let (least, most) = match self {
            // Beyond the session of 3 s that the brokers are told.
            Self::ConsumerZombie => (4_500, 6_000),
            // Beyond the broker's session of 6 s.
            Self::BrokerFreeze => (3_000, 9_000),
            Self::BrokersKillAll | Self::BrokersKillTwo => (3_000, 5_000),
            Self::Scale | Self::RebalanceStorm | Self::ProducerKillsInARow | Self::ConsumerKillsInARow => {
                (5_000, 7_000)
            }
            // Beyond the workers' session of 15 s.
            Self::KafkaAwayLong => (16_500, 19_000),
            Self::ExchangeMaintenance => (1_500, 3_000),
            _ => (800, 4_000),
        };
        (Duration::from_millis(least), Duration::from_millis(most))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALL.iter().find(|(fault, _)| fault == self).map_or("unnamed", |(_, name)| name))
    }
}
