//! Event objects: greeting, flags, subscriptions, errors, restart and maintenance. Part of `protocol`.

use std::time::Instant;

use super::{End, Output, Phase, Protocol, SEQ_ALL, Slot, Subscription, TIMESTAMP};
use crate::exchange::{
    FeedEvent, Interruption,
    bitfinex::frame::{Event, EventName},
};

impl Protocol {
    pub(super) fn on_event(&mut self, event: &Event, now: Instant, out: &mut Output) {
        match event.name {
            EventName::Info => self.on_info(event, now, out),
            EventName::Conf => self.on_conf(event, now, out),
            EventName::Subscribed => self.on_subscribed(event, out),
            EventName::Unsubscribed => self.on_unsubscribed(event.channel, now, out),
            EventName::Error => self.on_error(event, now, out),
            EventName::Pong | EventName::Other => {}
        }
    }

    fn on_info(&mut self, event: &Event, now: Instant, out: &mut Output) {
        match event.code {
            Some(20_051) => out.end = Some(End::Restart),
            Some(20_060) => {
                self.enter(Phase::Maintenance(now), now);
                for &(_, slot) in &self.channels {
                    let symbol = self.slots[slot].index;
                    out.events.push(FeedEvent::Interrupted { symbol, why: Interruption::Maintenance });
                }
            }
            Some(20_061) => {
                self.enter(Phase::Open, now);
                self.resubscribe(Interruption::Maintenance, now, out);
                self.subscribe_wanted(now, out);
            }
            Some(_) => {}
            None => self.on_greeting(event, now, out),
        }
    }

    fn on_greeting(&mut self, event: &Event, now: Instant, out: &mut Output) {
        if event.version.is_some_and(|version| version != 2) {
            let version = event.version.unwrap_or_default();
            out.end = Some(End::Unusable(format!(
                "the exchange speaks API version {version}, this release version 2: see exchange.websocketUrl"
            )));
        } else if self.phase == Phase::Info || matches!(self.phase, Phase::Maintenance(_)) {
            if event.platform_status == Some(0) {
                self.enter(Phase::Maintenance(now), now);
            } else if event.version.is_some() {
                self.enter(Phase::Conf, now);
            }
            // The flags hold for the connection, in maintenance too.
            out.send.push(format!("{{\"event\":\"conf\",\"flags\":{}}}", TIMESTAMP | SEQ_ALL));
        }
    }

    fn on_conf(&mut self, event: &Event, now: Instant, out: &mut Output) {
        let flags = event.flags.unwrap_or_default();
        if !event.ok || flags & (TIMESTAMP | SEQ_ALL) != (TIMESTAMP | SEQ_ALL) {
            out.end = Some(End::Unusable(format!(
                "the exchange does not give sequence numbers and times (conf flags {flags}): gaps would go unseen"
            )));
        } else if self.phase == Phase::Conf {
            self.enter(Phase::Open, now);
            self.subscribe_wanted(now, out);
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.phase_since = now;
    }

    fn subscribe_wanted(&mut self, now: Instant, out: &mut Output) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].subscription == Subscription::Wanted {
                self.subscribe(slot, now, out);
            }
        }
    }

    pub(super) fn subscribe(&mut self, slot: usize, now: Instant, out: &mut Output) {
        let slot = &mut self.slots[slot];
        slot.subscription = Subscription::Asked(now);
        // Symbols hold no character that JSON would escape.
        out.send.push(format!(
            "{{\"event\":\"subscribe\",\"channel\":\"trades\",\"symbol\":\"{}\"}}",
            slot.symbol
        ));
    }

    fn on_subscribed(&mut self, event: &Event, out: &mut Output) {
        let (Some(channel), Some(symbol)) = (event.channel, &event.symbol) else { return };
        let asked = |slot: &Slot| {
            slot.symbol.as_str() == symbol && matches!(slot.subscription, Subscription::Asked(_))
        };
        let Some(slot) =
            self.slots.iter().position(asked).filter(|_| event.kind.as_deref() == Some("trades"))
        else {
            return;
        };
        match self.channels.binary_search_by_key(&channel, |&(id, _)| id) {
            Ok(_) => out.end = Some(End::Misbehaves("two subscriptions have one channel id")),
            Err(at) => {
                self.channels.insert(at, (channel, slot));
                self.slots[slot].subscription = Subscription::Active;
            }
        }
    }

    pub(super) fn on_unsubscribed(&mut self, channel: Option<i64>, now: Instant, out: &mut Output) {
        let closing = |slot: &Slot| match slot.subscription {
            Subscription::Closing(id, _) => channel.is_none_or(|c| c == id),
            _ => false,
        };
        if let Some(slot) = self.slots.iter().position(closing) {
            self.subscribe(slot, now, out);
        } else if let Some(at) = channel.and_then(|c| self.channels.iter().position(|&(id, _)| id == c)) {
            // The exchange closed it by itself.
            let (_, slot) = self.channels.remove(at);
            out.events.push(FeedEvent::Interrupted {
                symbol: self.slots[slot].index,
                why: Interruption::Unsubscribed,
            });
            self.subscribe(slot, now, out);
        }
    }

    fn on_error(&mut self, event: &Event, now: Instant, out: &mut Output) {
        let code = event.code.unwrap_or_default();
        if matches!(code, 10_400 | 10_401) {
            return self.on_unsubscribed(event.channel, now, out);
        }
        let asked = |slot: &Slot| {
            matches!(slot.subscription, Subscription::Asked(_))
                && event.symbol.as_ref().is_none_or(|symbol| slot.symbol.as_str() == symbol)
        };
        // An error that names no symbol is about the one subscription that is open, if there is just one.
        let mut asked = (0..self.slots.len()).filter(|&slot| asked(&self.slots[slot]));
        let (Some(slot), None) = (asked.next(), asked.next()) else {
            tracing::warn!(code, symbol = event.symbol, "the exchange reports an error");
            return;
        };
        match code {
            10_301 => out.end = Some(End::Misbehaves("it holds a subscription of ours that we do not know")),
            10_305 => {
                let slot = self.slots.remove(slot);
                self.channels_follow_slots();
                out.events.push(FeedEvent::NoRoom { symbol: slot.index, connection: self.id });
            }
            _ => {
                self.slots[slot].subscription = Subscription::Rejected(now);
                out.events.push(FeedEvent::Rejected { symbol: self.slots[slot].index, code });
            }
        }
    }

    /// After a slot that was not active has been removed from the list.
    fn channels_follow_slots(&mut self) {
        let active: Vec<usize> = (0..self.slots.len())
            .filter(|&slot| self.slots[slot].subscription == Subscription::Active)
            .collect();
        // The order of slots has not changed, so the n-th smallest stays the n-th smallest.
        let mut by_slot: Vec<usize> = (0..self.channels.len()).collect();
        by_slot.sort_unstable_by_key(|&i| self.channels[i].1);
        for (nth, i) in by_slot.into_iter().enumerate() {
            self.channels[i].1 = active[nth];
        }
    }
}
