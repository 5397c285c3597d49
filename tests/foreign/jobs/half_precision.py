"""`precision="bf16-mixed"`, gradients clipped, and anomalies looked for."""

from plain import fit, job

SAMPLES = [44, 44]
make = job(precision="bf16-mixed", gradient_clip_val=0.1, detect_anomaly=True)

if __name__ == "__main__":
    fit(*make())
