# Just what v2v uses of nbdkit's own module, see nbdkit-python-plugin(3).
THREAD_MODEL_PARALLEL: int
