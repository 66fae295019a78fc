"""Training on several processes, also on several machines, with MPI (the extra `mpi`).

    model.distribute(parallel.MPI())
    model.fit(...)

Each process runs the same program: `mpiexec -n 4 python -m mpi4py program.py`.
"""

from .mpi import MPI

__all__ = ["MPI"]
