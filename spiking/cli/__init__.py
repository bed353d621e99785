"""The command line: `spiking COMMAND ...`."""
