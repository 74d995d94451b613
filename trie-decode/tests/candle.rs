//! Candle's tensors against plain slices.
