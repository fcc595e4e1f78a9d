"""The Python blocks of the three documents that Chronos was specified by, word for word, by document
and number. test_python_guide.py runs them; the documents themselves are not in this repository."""

BLOCKS = {
    ("readme", 1): """\
from chronos import Partitioner

# Get 50% of GPU 0 for 1 hour - guaranteed
with Partitioner().create(device=0, memory=0.5, duration=3600) as partition:
    train_model()  # Your code here
    # Auto-cleanup when done
""",
    ("readme", 2): """\
from chronos import Partitioner

p = Partitioner()

# Simple usage
with p.create(device=0, memory=0.5, duration=3600) as partition:
    import torch
    model = torch.nn.Sequential(...).cuda()
    model.fit(X, y)
    # Automatic cleanup
""",
    ("readme", 3): """\
from chronos import Partitioner
import torch

with Partitioner().create(device=0, memory=0.5, duration=14400) as p:
    model = MyModel().cuda()

    for epoch in range(1000):
        train_epoch(model)

        # Auto-save when time is running out
        if p.time_remaining < 600:  # 10 minutes left
            torch.save(model.state_dict(), 'checkpoint.pt')
            print("Checkpoint saved!")
            break
""",
    ("readme", 4): """\
from chronos import Partitioner

# At the start of your notebook
p = Partitioner()
partition = p.create(device=0, memory=0.5, duration=7200)  # 2 hours

# Your analysis here
import tensorflow as tf
model = build_model()
model.fit(data)

# Check remaining time
print(f"Time left: {partition.time_remaining}s")

# Release when done (or it auto-expires)
partition.release()
""",
    ("user-guide", 1): """\
from chronos import Partitioner

# Create partitioner
partitioner = Partitioner()

# Create partition (returns Partition object)
partition = partitioner.create(device=0, memory=0.5, duration=3600)

print(f"Created: {partition.partition_id}")
print(f"Using {partition.memory_fraction*100}% of GPU {partition.device}")

# Use your GPU here
import torch
model = torch.nn.Sequential(...).cuda()

# Release when done
partition.release()
""",
    ("user-guide", 2): """\
from chronos import Partitioner

partitioner = Partitioner()

# Automatically releases on exit
with partitioner.create(device=0, memory=0.5, duration=3600) as p:
    print(f"Partition: {p.partition_id}")

    # Your GPU code here
    import torch
    model = torch.nn.Sequential(...).cuda()
    # Train model...

# Partition automatically released here
""",
    ("user-guide", 3): """\
partitions = partitioner.list()

for p in partitions:
    print(f"ID: {p.partition_id}")
    print(f"  Memory: {p.memory_fraction*100}%")
    print(f"  Time left: {p.time_remaining_seconds}s")
    print(f"  Owner: {p.username}")
""",
    ("user-guide", 4): """\
available = partitioner.get_available(device=0)
print(f"GPU 0: {available:.1f}% available")

if available > 50:
    partition = partitioner.create(device=0, memory=0.5, duration=3600)
""",
    ("user-guide", 5): """\
from chronos import Partitioner, ChronosError

partitioner = Partitioner()

try:
    partition = partitioner.create(device=0, memory=0.9, duration=3600)
except ChronosError as e:
    print(f"Failed: {e}")

    # Try with less memory
    available = partitioner.get_available(device=0) / 100.0
    partition = partitioner.create(device=0, memory=available * 0.8, duration=3600)
""",
    ("user-guide", 6): """\
partition = partitioner.create(device=0, memory=0.5, duration=3600)

# Check time remaining
time_left = partition.time_remaining
print(f"Time remaining: {time_left} seconds")

# Save checkpoint if time is running out
if time_left < 300:  # Less than 5 minutes
    print("Time almost up, saving checkpoint...")
    torch.save(model.state_dict(), "checkpoint.pt")
""",
    ("user-guide", 7): """\
from chronos import Partitioner
import torch

partitioner = Partitioner()

# Request 40% for 4 hours
with partitioner.create(device=0, memory=0.4, duration=14400) as p:
    print(f"Training with {p.memory_fraction*100}% GPU memory")

    model = torch.nn.Sequential(
        torch.nn.Linear(784, 256),
        torch.nn.ReLU(),
        torch.nn.Linear(256, 10)
    ).cuda()

    for epoch in range(100):
        # Training loop
        if p.time_remaining < 600:  # 10 minutes left
            torch.save(model.state_dict(), f"checkpoint_epoch_{epoch}.pt")
            break
""",
    ("user-guide", 8): """\
from chronos import Partitioner

partitioner = Partitioner()

students = ["student1", "student2", ..., "student20"]
gpu = 0
memory_per_student = 0.05  # 5% each
duration = 3600  # 1 hour lab session

for i, student in enumerate(students):
    # Alternate between GPUs
    device = i % 2

    try:
        partition = partitioner.create(
            device=device,
            memory=memory_per_student,
            duration=duration,
            user=student
        )
        print(f"Allocated GPU {device} to {student}: {partition.partition_id}")
    except ChronosError as e:
        print(f"Failed to allocate for {student}: {e}")
""",
    ("user-guide", 9): """\
# In Jupyter notebook
from chronos import Partitioner

# Create partition for session
partitioner = Partitioner()
partition = partitioner.create(device=0, memory=0.5, duration=7200)  # 2 hours

print(f"Partition: {partition.partition_id}")
print(f"Time remaining: {partition.time_remaining} seconds")

# Now safe to use GPU
import tensorflow as tf
model = tf.keras.Sequential([...])
model.fit(X_train, y_train)

# Check time periodically
print(f"Time remaining: {partition.time_remaining} seconds")

# Release when done
partition.release()
""",
    ("user-guide", 10): """\
with partitioner.create(device=0, memory=0.5, duration=3600) as p:
    # Your work
    train_model()
    # Automatic release when done, not after full hour
""",
    ("user-guide", 11): """\
try:
    partition = partitioner.create(device=0, memory=0.7, duration=3600)
except ChronosError:
    # Fall back to less memory
    partition = partitioner.create(device=0, memory=0.3, duration=3600)
""",
    ("user-guide", 12): """\
with partitioner.create(device=0, memory=0.5, duration=3600) as p:
    for epoch in range(1000):
        train_epoch()

        # Save every 10 epochs or when time low
        if epoch % 10 == 0 or p.time_remaining < 600:
            torch.save(model.state_dict(), f"checkpoint_{epoch}.pt")
""",
    ("user-guide", 13): """\
# Short tasks: minutes
partitioner.create(device=0, memory=0.2, duration=600)  # 10 min test

# Medium tasks: hours
partitioner.create(device=0, memory=0.5, duration=7200)  # 2 hour training

# Long tasks: break into chunks
for chunk in range(4):
    with partitioner.create(device=0, memory=0.5, duration=7200) as p:
        train_chunk(chunk)  # 2 hours each = 8 hours total
""",
    ("user-guide", 14): """\
partition = partitioner.create(device=0, memory=0.5, duration=3600)

while training:
    # Periodically check time
    if partition.time_remaining < 300:
        print("5 minutes left!")
        save_checkpoint()
        break
""",
    ("faq", 1): """\
p1 = partitioner.create(device=0, memory=0.5, duration=3600)
p2 = partitioner.create(device=1, memory=0.5, duration=3600)
""",
    ("faq", 2): """\
# jupyterhub_config.py
c.Spawner.pre_spawn_hook = lambda spawner: create_chronos_partition(spawner.user.name)
c.Spawner.post_stop_hook = lambda spawner: release_chronos_partition(spawner.user.name)
""",
}
