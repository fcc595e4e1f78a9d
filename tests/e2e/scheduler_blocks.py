"""The Python blocks of the GPU Scheduler's document, word for word, by number.
test_python_gpu_scheduler.py runs them; the document itself is not in this repository."""

BLOCKS = {
    1: """\
from gpu_scheduler import GPUScheduler

# Acquire a single GPU with default settings
with GPUScheduler() as gpu_ids:
    # Option 1: Explicitly use the scheduled GPU (recommended)
    device = f"cuda:{gpu_ids[0]}"
    model = model.to(device)
    
    # Option 2: Use default device (scheduler sets it automatically)
    device = torch.device("cuda")  # Uses the scheduled GPU
    model = model.to(device)
""",
    2: """\
with GPUScheduler() as gpu_ids:
    # If scheduler acquired GPU 3:
    # - torch.cuda.current_device() returns 3
    # - torch.cuda.set_device(3) was called
    
    device1 = torch.device("cuda:0")      # ❌ Still refers to GPU 0, not GPU 3!
    device2 = torch.device(f"cuda:{gpu_ids[0]}")  # ✅ Correct: uses GPU 3
    device3 = torch.device("cuda")        # ✅ Uses default (GPU 3, set by scheduler)
""",
    3: """\
from gpu_scheduler import GPUScheduler

# Single GPU with memory constraint
with GPUScheduler(memory_free_threshold_gb=20) as gpu_ids:
    # Explicitly use the scheduled GPU (recommended)
    device = f"cuda:{gpu_ids[0]}"
    print(f"Using GPU: {gpu_ids[0]} on device: {device}")
    
    # Or use default device (scheduler already set it)
    device = torch.device("cuda")
    
    # Your code here
    model = model.to(device)
""",
    4: """\
# Acquire multiple GPUs
with GPUScheduler(
    num_gpus=2,
    memory_free_threshold_gb=10,
    power_threshold_w=50,
    utilization_threshold_percent=1
) as gpu_ids:
    print(f"Using GPUs: {gpu_ids}")
    
    # Use the first scheduled GPU as default
    device = f"cuda:{gpu_ids[0]}"
    
    # Or access specific GPUs
    device1 = f"cuda:{gpu_ids[0]}"
    device2 = f"cuda:{gpu_ids[1]}"
    
    # Your code here
""",
    5: """\
# Bypass all health checks (useful for development)
with GPUScheduler(debug_mode=True) as gpu_ids:
    print(f"Using GPU: {gpu_ids[0]}")
    # Your code here
""",
    6: """\
from gpu_scheduler import get_gpu_info, find_free_gpus

# Get comprehensive GPU information
gpu_info = get_gpu_info()
for gpu in gpu_info:
    print(f"GPU {gpu['gpu_id']}: {gpu['name']}")
    print(f"  Memory: {gpu['memory_free']}MB free / {gpu['memory_total']}MB total")
    print(f"  Power: {gpu['power_draw']}W / {gpu['power_limit']}W")
    print(f"  Utilization: {gpu['utilization']}%")

# Find free GPUs
free_gpus = find_free_gpus(
    memory_free_threshold_gb=20,
    power_threshold_w=50,
    utilization_threshold_percent=1
)
print(f"Found {len(free_gpus)} free GPUs")
""",
    7: """\
from gpu_scheduler import GPUScheduler

with GPUScheduler() as gpu_ids:
    # Your code here
""",
}
