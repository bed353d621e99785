"""Training on event recordings with Lightning: the module, the data, controls and reports."""
