//! Producer and consumer of the candle pipeline.
