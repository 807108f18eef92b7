//! All connections to the exchange: which symbol is on which, how they are doing, who ends them.

use std::collections::BTreeMap;

use candles_core::{config::ExchangeConfig, symbol::Symbol};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::exchange::{
    SymbolIndex,
    bitfinex::connection::{Batch, Command, Connection, ConnectionState},
    budget::SharedBudget,
    limits::INBOX_BATCHES,
};

struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    symbols: Vec<SymbolIndex>,
    /// The exchange said that there is no room for more.
    full: bool,
    state: ConnectionState,
}

/// The connections of one producer. Dropping it ends them; [`Sockets::close`] also waits.
pub struct Sockets {
    config: ExchangeConfig,
    budget: SharedBudget,
    handles: Vec<Handle>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    inbox: mpsc::Sender<Batch>,
    rejected: BTreeMap<SymbolIndex, i64>,
}

impl Sockets {
    /// Starts as many connections as the symbols need. The receiver gets what they say.
    pub fn start(config: &ExchangeConfig, budget: SharedBudget) -> (Self, mpsc::Receiver<Batch>) {
        let (inbox, batches) = mpsc::channel(INBOX_BATCHES);
        let mut sockets = Self {
            config: config.clone(),
            budget,
            handles: Vec::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            inbox,
            rejected: BTreeMap::new(),
        };
        let symbols: Vec<(SymbolIndex, Symbol)> = config.symbols.iter().cloned().enumerate().collect();
        for shard in symbols.chunks(usize::from(config.limits.channels_per_connection)) {
            sockets.connect(shard.to_vec());
        }
        (sockets, batches)
    }

    fn connect(&mut self, symbols: Vec<(SymbolIndex, Symbol)>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        self.handles.push(Handle {
            commands,
            symbols: symbols.iter().map(|(index, _)| *index).collect(),
            full: false,
            state: ConnectionState::Settling,
        });
        let connection = Connection {
            id: self.handles.len() - 1,
            url: self.config.websocket_url.clone(),
            silence: self.config.limits.silence.as_std(),
            budget: self.budget.clone(),
            inbox: self.inbox.clone(),
            commands: receiver,
        };
        self.tasks.spawn(connection.run(symbols, self.stop.child_token()));
    }

    /// A connection has no room for a symbol: another one takes it.
    pub fn relocate(&mut self, symbol: SymbolIndex, from: usize) {
        self.handles[from].full = true;
        self.handles[from].symbols.retain(|&s| s != symbol);
        let name = self.config.symbols[symbol].clone();
        let room = usize::from(self.config.limits.channels_per_connection);
        let free = self.handles.iter_mut().find(|handle| !handle.full && handle.symbols.len() < room);
        if let Some(handle) = free {
            handle.symbols.push(symbol);
            // A connection lives as long as we do.
            let _ = handle.commands.send(Command::Add(symbol, name));
        } else {
            tracing::info!(symbol = %name, connections = self.handles.len() + 1, "one more connection");
            self.connect(vec![(symbol, name)]);
        }
    }

    /// Subscribes a symbol anew, for a snapshot.
    pub fn renew(&self, symbol: SymbolIndex) {
        if let Some(handle) = self.handles.iter().find(|handle| handle.symbols.contains(&symbol)) {
            let _ = handle.commands.send(Command::Renew(symbol));
        }
    }

    /// News of a connection. Says so in the log.
    pub fn on_state(&mut self, connection: usize, state: ConnectionState) {
        match &state {
            ConnectionState::Settled => {
                tracing::info!(connection, symbols = self.handles[connection].symbols.len(), "subscribed");
            }
            ConnectionState::Settling => {}
            ConnectionState::Down { why, lost, retry } => {
                let retry_in_ms = retry.as_millis() as u64;
                let url = self.config.websocket_url.as_str();
                tracing::warn!(connection, url, lost, retry_in_ms, error = why, "exchange connection down");
            }
        }
        self.handles[connection].state = state;
    }

    /// The exchange refuses a symbol.
    pub fn on_rejected(&mut self, symbol: SymbolIndex, code: i64) {
        if self.rejected.insert(symbol, code) != Some(code) {
            let name = &self.config.symbols[symbol];
            tracing::error!(symbol = %name, code, "the exchange rejects the symbol; the others go on; remove it from exchange.symbols");
        }
    }

    /// The symbol is served after all.
    pub fn on_served(&mut self, symbol: SymbolIndex) {
        if self.rejected.remove(&symbol).is_some() {
            tracing::info!(symbol = %self.config.symbols[symbol], "the exchange serves the symbol again");
        }
    }

    /// Symbols that the exchange refuses.
    pub fn rejected(&self) -> usize {
        self.rejected.len()
    }

    /// Why not every symbol flows, if so.
    pub fn problem(&self) -> Option<String> {
        let down = self.handles.iter().filter_map(|handle| match &handle.state {
            ConnectionState::Down { why, .. } => Some(why.as_str()),
            _ => None,
        });
        let down: Vec<&str> = down.collect();
        let url = self.config.websocket_url.as_str();
        if let Some(why) = down.first() {
            let (down, all) = (down.len(), self.handles.len());
            return Some(format!("{down} of {all} connections to {url} are down: {why}; connecting again"));
        }
        let settling = self.handles.iter().filter(|handle| handle.state == ConnectionState::Settling).count();
        (settling > 0).then(|| {
            format!("{settling} of {} connections to {url} are not subscribed yet", self.handles.len())
        })
    }

    /// Ends all connections.
    pub async fn close(mut self) {
        self.stop.cancel();
        // Their tasks end at the token, wherever they wait.
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
