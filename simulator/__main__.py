"""``python -m simulator``: a process that helps to simulate a night. Not for the command line of people."""

from simulator.night import run_helping_process

if __name__ == "__main__":
    run_helping_process()
