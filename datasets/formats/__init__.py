"""Readers of recording files; none of them needs another package than h5py."""
