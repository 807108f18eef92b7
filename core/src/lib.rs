//! Trades, candles, intervals, marks, the Avro binding and the pipeline configuration.
