//! A planned fault in, the deed out: how each fault begins and how it ends.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::fault::Fault;
use super::schedule::{Dice, Planned};
use super::stage::revive;
use super::world::{LATENESS_MS, PARTITIONS, World};
use crate::exchange::{self as market, CutHow, GarbageKind, NewTrade, RestFault, TradeFrame};
use crate::judge::Gap;
use crate::proxy::{Door, End, Flow, Proxy, Trouble};
use crate::servers::{State, Worker};

/// Rows that one ms of the unfillable gap has: more than two pages.
const UNFILLABLE_ROWS: usize = 1_100;

/// Begins a fault; some take their whole time here.
pub async fn begin(world: &World<'_>, planned: &Planned) -> anyhow::Result<()> {
    let Planned { fault, lasts, chance, .. } = *planned;
    match fault {
        Fault::ProducerKill | Fault::OneOfTwoProducersKill => producer(world, chance)?.kill()?,
        Fault::ProducerFreeze | Fault::OneOfTwoProducersFreeze => freeze(&*producer(world, chance)?)?,
        Fault::ProducerStop => producer(world, chance)?.stop().await?,
        Fault::ConsumerKill => consumer(world, chance)?.kill()?,
        Fault::ConsumersKillAll => {
            world.consumers.all().iter().try_for_each(|consumer| consumer.kill())?;
        }
        Fault::ConsumerZombie => freeze(&*consumer(world, chance)?)?,
        Fault::ConsumerStop => consumer(world, chance)?.stop().await?,
        Fault::Scale => {
            world.start_consumer()?;
            world.start_consumer()?;
        }
        Fault::RebalanceStorm => storm(world, lasts).await?,
        Fault::ProducerKillsInARow => kills(&*producer(world, chance)?, lasts, chance).await?,
        Fault::ConsumerKillsInARow => kills(&*consumer(world, chance)?, lasts, chance).await?,
        Fault::OffsetsReset | Fault::RecordsDeleted => {
            for consumer in world.consumers.all() {
                consumer.stop().await?;
            }
        }
        Fault::TopicGrows => world.grow(PARTITIONS + 2).await?,
        Fault::Poison => poison(world, chance).await?,
        Fault::BrokerKill => world.stage.kafka.kill(1 + (chance % 3) as usize)?,
        Fault::BrokersKillTwo | Fault::BrokersKillAll => {
            for id in brokers(fault, chance) {
                world.stage.kafka.kill(id)?;
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
        }
        Fault::BrokerFreeze => world.stage.kafka.freeze(1 + (chance % 3) as usize)?,
        Fault::InfluxKill => world.lane.influxdb.kill()?,
        Fault::InfluxFreeze => world.lane.influxdb.freeze()?,
        Fault::RegistryRefused | Fault::Registry500 => {
            world.registry.set(trouble(fault));
            // Only a start needs the registry.
            producer(world, chance)?.kill()?;
            consumer(world, chance)?.kill()?;
            producer(world, chance)?.start()?;
            consumer(world, chance)?.start()?;
        }
        Fault::ExchangeUnfillable => unfillable(world).await?,
        _ if exchange_itself(world, fault)? => {}
        _ => {
            let trouble = trouble(fault);
            for proxy in proxies(world, fault, chance) {
                proxy.set(trouble.clone());
            }
            for (proxy, how) in ended(world, fault) {
                proxy.end(how);
            }
        }
    }
    Ok(())
}

/// Ends a fault.
pub async fn end(world: &World<'_>, planned: &Planned) -> anyhow::Result<()> {
    let Planned { fault, chance, .. } = *planned;
    match fault {
        Fault::ProducerKill | Fault::ProducerStop => producer(world, chance)?.start()?,
        // It is the other one's turn for good.
        Fault::OneOfTwoProducersKill
        | Fault::RebalanceStorm
        | Fault::TopicGrows
        | Fault::Poison
        | Fault::ProducerKillsInARow
        | Fault::ConsumerKillsInARow => {}
        Fault::ProducerFreeze | Fault::OneOfTwoProducersFreeze => revive(&*producer(world, chance)?)?,
        Fault::ConsumerKill | Fault::ConsumerStop => consumer(world, chance)?.start()?,
        Fault::ConsumersKillAll => world.consumers.all().iter().try_for_each(|consumer| consumer.start())?,
        Fault::ConsumerZombie => revive(&*consumer(world, chance)?)?,
        Fault::Scale => {
            let all = world.consumers.all();
            all[0].stop().await?;
            all[all.len() - 1].stop().await?;
        }
        Fault::OffsetsReset => reset_offsets(world, chance).await?,
        Fault::RecordsDeleted => delete_records(world).await?,
        Fault::BrokerKill => world.stage.kafka.restart(1 + (chance % 3) as usize).await?,
        Fault::BrokersKillTwo | Fault::BrokersKillAll => {
            for id in brokers(fault, chance) {
                world.stage.kafka.broker(id).start()?;
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            world.stage.kafka.wait_ready().await?;
        }
        Fault::BrokerFreeze => world.stage.kafka.thaw(1 + (chance % 3) as usize)?,
        Fault::InfluxKill => world.lane.influxdb.restart().await?,
        Fault::InfluxFreeze => world.lane.influxdb.thaw()?,
        Fault::RegistryRefused | Fault::Registry500 => world.registry.heal(),
        Fault::ExchangeUnfillable | Fault::ExchangeBadHistory => {
            world.sim.fault(&market::Fault::Heal)?;
            heal_exchanges(world);
        }
        _ => {
            for proxy in proxies(world, fault, chance) {
                proxy.heal();
            }
        }
    }
    Ok(())
}

/// Another fault may have killed it already.
fn freeze(worker: &Worker) -> anyhow::Result<()> {
    if worker.state() == State::Running {
        worker.freeze()?;
    }
    Ok(())
}

fn producer(world: &World<'_>, chance: u64) -> anyhow::Result<Arc<Worker>> {
    world.producers.first(world.exchanges.len(), chance).context("there is no producer")
}

fn consumer(world: &World<'_>, chance: u64) -> anyhow::Result<Arc<Worker>> {
    world.consumers.first(world.consumers_at_start, chance).context("there is no consumer")
}

/// Who is killed, in which order, and comes back in the same one.
fn brokers(fault: Fault, chance: u64) -> Vec<usize> {
    let first = (chance % 3) as usize;
    let count = if fault == Fault::BrokersKillAll { 3 } else { 2 };
    (0..count).map(|n| 1 + (first + n) % 3).collect()
}

/// The proxies that a fault of the network concerns.
fn proxies<'w>(world: &'w World<'_>, fault: Fault, chance: u64) -> Vec<&'w Proxy> {
    let sockets = world.exchanges.iter().map(|exchange| &exchange.socket);
    match fault {
        Fault::KafkaOneRefused => vec![&world.lane.brokers[(chance % 3) as usize]],
        Fault::KafkaReset
        | Fault::KafkaAllRefused
        | Fault::KafkaAwayLong
        | Fault::KafkaSlow
        | Fault::KafkaNoAnswers
        | Fault::KafkaNoRequests
        | Fault::KafkaSlices => world.lane.brokers.iter().collect(),
        Fault::InfluxSlow
        | Fault::InfluxAnswersLost
        | Fault::InfluxHalfOpen
        | Fault::Influx429
        | Fault::Influx500
        | Fault::Influx503
        | Fault::Influx401
        | Fault::Influx404 => vec![&world.influxdb],
        Fault::ExchangeHalfOpen | Fault::ExchangeSlices | Fault::ExchangeReset => sockets.collect(),
        Fault::ExchangeRefused => world.exchanges.iter().flat_map(|e| [&e.socket, &e.history]).collect(),
        Fault::OneOfTwoProducersCutOff => {
            let exchange = &world.exchanges[(chance % world.exchanges.len() as u64) as usize];
            vec![&exchange.socket, &exchange.history]
        }
        _ => Vec::new(),
    }
}

/// Connections that end at the beginning of a fault.
fn ended<'w>(world: &'w World<'_>, fault: Fault) -> Vec<(&'w Proxy, End)> {
    match fault {
        Fault::KafkaReset => world.lane.brokers.iter().map(|proxy| (proxy, End::Reset)).collect(),
        Fault::ExchangeReset => {
            world.exchanges.iter().map(|exchange| (&exchange.socket, End::Reset)).collect()
        }
        _ => Vec::new(),
    }
}

fn trouble(fault: Fault) -> Trouble {
    let slow = Flow { delay: Duration::from_millis(100), bytes_per_s: Some(375_000), ..Flow::default() };
    let blocked = Flow { blocked: true, ..Flow::default() };
    let sliced = Flow { slice: Some(7), ..Flow::default() };
    let none = Trouble::default;
    let answer = |head: &str| Trouble { door: Door::Answer(format!("HTTP/1.1 {head}").into()), ..none() };
    match fault {
        Fault::KafkaOneRefused
        | Fault::KafkaAllRefused
        | Fault::KafkaAwayLong
        | Fault::ExchangeRefused
        | Fault::OneOfTwoProducersCutOff
        | Fault::RegistryRefused => Trouble { door: Door::Refused, ..none() },
        Fault::KafkaSlow => Trouble { to_server: slow.clone(), to_client: slow, ..none() },
        Fault::KafkaNoAnswers | Fault::ExchangeHalfOpen => Trouble { to_client: blocked, ..none() },
        Fault::KafkaNoRequests => Trouble { to_server: blocked, ..none() },
        Fault::InfluxHalfOpen => {
            Trouble { to_server: blocked.clone(), to_client: blocked, door: Door::Silent }
        }
        // Larger than a packet is rare; what is small makes most of the edges.
        Fault::KafkaSlices => {
            let sliced = Flow { slice: Some(100), ..Flow::default() };
            Trouble { to_server: sliced.clone(), to_client: sliced, ..none() }
        }
        Fault::ExchangeSlices => {
            let late = Flow { delay: Duration::from_millis(50), ..sliced };
            Trouble { to_client: late, ..none() }
        }
        Fault::InfluxSlow => {
            let late = Flow { delay: Duration::from_millis(700), ..Flow::default() };
            Trouble { to_server: late, to_client: slow, ..none() }
        }
        Fault::InfluxAnswersLost => Trouble { to_client: Flow { fatal: true, ..Flow::default() }, ..none() },
        Fault::Influx429 => answer("429 Too Many Requests\r\nRetry-After: 1"),
        Fault::Influx500 | Fault::Registry500 => answer("500 Internal Server Error"),
        Fault::Influx503 => answer("503 Service Unavailable"),
        Fault::Influx401 => answer("401 Unauthorized"),
        Fault::Influx404 => answer("404 Not Found"),
        _ => none(),
    }
}

/// Faults that the simulated exchange makes itself. False: it is another's.
fn exchange_itself(world: &World<'_>, fault: Fault) -> anyhow::Result<bool> {
    use market::Fault as Market;
    let rest =
        |kind, count| Market::Rest { kind, count: Some(count), for_ms: None, path: None, slow_ms: Some(800) };
    let odd = |frame| Market::Omit { frame, symbol: None, count: 4, conn: None };
    let faults = match fault {
        Fault::ExchangeLostFrames => {
            vec![Market::Lose { frame: TradeFrame::Te, symbol: None, conn: None, count: 5 }]
        }
        Fault::ExchangeOddFrames => vec![
            odd(TradeFrame::Te),
            odd(TradeFrame::Tu),
            Market::Duplicate { frame: TradeFrame::Te, symbol: None, count: 5, same_seq: false },
            Market::Reorder { within_ms: 800, symbol: None, count: 10 },
            Market::OldSnapshot { symbol: None, age_ms: 30_000 },
        ],
        Fault::ExchangeGarbage => {
            let garbage = |kind| Market::Garbage { kind, symbol: None, count: 1, replace: false };
            GarbageKind::ALL.into_iter().map(garbage).collect()
        }
        Fault::ExchangeRestart => vec![Market::Info { code: 20_051 }],
        Fault::ExchangeMaintenance => vec![Market::Maintenance { for_ms: 20_000, halt: true }],
        Fault::ExchangeBadHistory => vec![
            rest(RestFault::Http500, 2),
            rest(RestFault::Garbage, 1),
            rest(RestFault::ErrorArray, 1),
            rest(RestFault::Empty, 1),
            rest(RestFault::Truncated, 1),
            rest(RestFault::Slow, 2),
            Market::Cut { conn: None, how: CutHow::Reset },
        ],
        _ => return Ok(false),
    };
    for fault in faults {
        world.sim.fault(&fault)?;
    }
    Ok(true)
}

fn heal_exchanges(world: &World<'_>) {
    for exchange in &world.exchanges {
        exchange.socket.heal();
        exchange.history.heal();
    }
}

/// One more member comes and goes.
async fn storm(world: &World<'_>, lasts: Duration) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + lasts;
    let member = world.start_consumer()?;
    let mut round = 0;
    while tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(900)).await;
        // In good order, and as it comes.
        if round % 2 == 0 {
            member.stop().await?;
        } else {
            member.kill()?;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        member.start()?;
        round += 1;
    }
    Ok(())
}

/// Killed soon after each start, and alive at the end: whatever it was just doing, it was doing that half.
async fn kills(worker: &Worker, lasts: Duration, chance: u64) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + lasts;
    let mut dice = Dice::new(chance);
    while tokio::time::Instant::now() < until {
        worker.kill()?;
        worker.start()?;
        tokio::time::sleep(Duration::from_millis(100 + dice.below(1_200) as u64)).await;
    }
    Ok(())
}

async fn poison(world: &World<'_>, chance: u64) -> anyhow::Result<()> {
    let mut dice = Dice::new(chance);
    let mut noise = |bytes: usize| -> Vec<u8> { (0..bytes).map(|_| dice.number() as u8 | 1).collect() };
    let values = vec![
        noise(40),
        // Cut off, an id that nobody knows, longer than any record, and a body that says it is longer than it is.
        vec![0, 0, 0],
        [vec![0, 0x7f, 0, 0, 1], noise(60)].concat(),
        vec![0; 70_000],
        vec![0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    let count = values.len() as i64;
    let before = world.admin.ends().await?;
    world.admin.append(values).await?;
    // Others append to the partition as well: what is ours is known by its content.
    let after = world.admin.ends().await?;
    let mut tap = world.tap.lock().await;
    tap.read_to(&after.iter().map(|(p, _, high)| (*p, *high)).collect::<Vec<_>>(), Duration::from_secs(30))
        .await?;
    let foreign = tap.records().await?.iter().filter(|record| {
        record.partition == 0 && record.offset >= before[0].2 && record.entry == crate::judge::Entry::Other
    });
    let offsets: Vec<i64> = foreign.map(|record| record.offset).collect();
    anyhow::ensure!(offsets.len() as i64 == count, "{count} foreign records appended, {offsets:?} found");
    world.excuses.lock().unwrap_or_else(PoisonError::into_inner).poison.extend(offsets);
    Ok(())
}

/// Cuts the sockets and lets more happen in one ms than history can show.
async fn unfillable(world: &World<'_>) -> anyhow::Result<()> {
    for exchange in &world.exchanges {
        exchange.socket.set(Trouble { door: Door::Refused, ..Trouble::default() });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.sim.pause_clock();
    let symbol = "tBTCUSD";
    let mut at_ms = 0;
    for _ in 0..UNFILLABLE_ROWS {
        at_ms = world.sim.publish(symbol, &NewTrade::new("60123.4", "0.5"))?.1;
    }
    world.sim.resume_clock();
    let gap = Gap {
        symbol: Some(symbol.to_owned()),
        // What the log shows of a quiet symbol ends before the gap begins.
        from_ms: at_ms - LATENESS_MS,
        to_ms: at_ms + 1,
        why: "more trades in one ms than two pages of history".to_owned(),
    };
    world.excuses.lock().unwrap_or_else(PoisonError::into_inner).gaps.push(gap);
    Ok(())
}

/// What nobody can know after a group lost its place: windows that were open at `before`, up to what `after` says.
async fn excuse(world: &World<'_>, offsets: &HashMap<i32, (i64, i64)>, why: &str) -> anyhow::Result<()> {
    let times = world.times_around(offsets).await?;
    let mut excuses = world.excuses.lock().unwrap_or_else(PoisonError::into_inner);
    for (symbol, (seen_ms, next_ms)) in times {
        // Trades up to the lateness before the first record that is read may stand before it.
        let (from_ms, to_ms) = (seen_ms.saturating_sub(LATENESS_MS), next_ms.saturating_add(LATENESS_MS + 1));
        if from_ms < to_ms {
            excuses.gaps.push(Gap { symbol: Some(symbol), from_ms, to_ms, why: why.to_owned() });
        }
    }
    Ok(())
}

async fn reset_offsets(world: &World<'_>, chance: u64) -> anyhow::Result<()> {
    let committed = world.admin.committed().await?;
    let to_start = chance.is_multiple_of(2);
    let target = |(partition, offset): &(i32, Option<i64>)| {
        Some((*partition, if to_start { 0 } else { (*offset)? / 2 }))
    };
    let targets: Vec<(i32, i64)> = committed.iter().filter_map(target).collect();
    if !to_start {
        let places = committed
            .iter()
            .filter_map(|(partition, offset)| Some((*partition, ((*offset)?, (*offset)? / 2))));
        excuse(world, &places.collect(), "an administrator's reset into the middle").await?;
    }
    // Tried again while the group that has just been left is not empty yet.
    world.admin.reset(targets).await?;
    world.consumers.all().iter().try_for_each(|consumer| consumer.start())?;
    Ok(())
}

async fn delete_records(world: &World<'_>) -> anyhow::Result<()> {
    let ends = world.admin.ends().await?;
    // The tap must have seen what is about to go.
    let highs: Vec<(i32, i64)> = ends.iter().map(|(partition, _, high)| (*partition, *high)).collect();
    world.tap.lock().await.read_to(&highs, Duration::from_secs(30)).await?;
    let committed: HashMap<i32, i64> =
        world.admin.committed().await?.into_iter().filter_map(|(p, offset)| Some((p, offset?))).collect();
    let mut places = HashMap::new();
    let mut removed = Vec::new();
    for (partition, high) in &highs {
        let from = committed.get(partition).copied().unwrap_or(0);
        if *high > from {
            places.insert(*partition, (from, *high));
            removed.push((*partition, from, *high));
        }
    }
    let before: Vec<(i32, i64)> = removed.iter().map(|(partition, _, to)| (*partition, *to)).collect();
    world.admin.delete(&before).await?;
    world.excuses.lock().unwrap_or_else(PoisonError::into_inner).removed.extend(removed);
    // What comes next says where coverage starts again.
    let grown = |ends: &[(i32, i64, i64)]| {
        before.iter().all(|(partition, to)| ends.iter().any(|(p, _, high)| p == partition && high > to))
    };
    let begun = tokio::time::Instant::now();
    while !grown(&world.admin.ends().await?) && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.consumers.all().iter().try_for_each(|consumer| consumer.start())?;
    // Every symbol has marks every 1.5 s.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let highs: Vec<(i32, i64)> = world.admin.ends().await?.iter().map(|(p, _, high)| (*p, *high)).collect();
    world.tap.lock().await.read_to(&highs, Duration::from_secs(30)).await?;
    excuse(world, &places, "records removed unread").await
}
