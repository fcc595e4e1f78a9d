"""A JupyterHub that gives each user a partition of GPU memory, for as long as their server runs.

Paste this into your jupyterhub_config.py, or load it there with load_subconfig(). The Hub runs as root,
which may make partitions for others, with a Spawner that starts servers as their users on this machine
(LocalProcessSpawner, SystemdSpawner, SudoSpawner), and `pip install chronos-gpu` in the Hub's Python.

A server is started in its partition: what its notebooks, terminals and their children allocate through
OpenCL is held to it. Who comes when the device is full waits in line for WAIT, then reads why there is
no server. When the time is up, allocations are refused; `chronos extend` as root gives more.
"""

import sys

import chronos

DEVICE = 0
MEMORY = 0.2  # of the device, for each server; or a size, "4GiB"
DURATION = "8h"
WAIT = "20s"  # less than c.Spawner.start_timeout
SERVER = ["jupyterhub-singleuser"]


def partition_name(spawner):
    """Its user may have several servers: the id that the Hub keeps for this one."""
    return f"jupyter-{spawner.orm_spawner.id}"


async def give_partition(spawner):
    partitioner = chronos.Partitioner()
    take_partition(spawner)  # of a server that a Hub before this one has left
    try:
        partition = await partitioner.create_async(
            DEVICE, MEMORY, DURATION, user=spawner.user.name, name=partition_name(spawner),
            wait=WAIT,
        )
    except chronos.ChronosError as error:
        error.jupyterhub_message = f"No GPU memory: {error}"  # what the user's page says
        raise
    spawner.cmd = [sys.executable, "-m", "chronos", "run", "--partition", partition.handle, "--",
                   *SERVER]
    spawner.log.info("%s has %s until %s", spawner.user.name, partition, partition.expires_at)


def take_partition(spawner):
    try:
        chronos.Partitioner().release(partition_name(spawner))
    except chronos.PartitionNotFound:
        pass  # its time was up before


c = get_config()  # noqa: F821  # JupyterHub defines it
c.Spawner.pre_spawn_hook = give_partition
c.Spawner.post_stop_hook = take_partition
