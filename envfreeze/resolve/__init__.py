"""Match and prove: the only stage that talks to indexes."""
