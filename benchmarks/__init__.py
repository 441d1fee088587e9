"""`python -m benchmarks`: a no-op job through our whole path and through others', on the same servers."""
