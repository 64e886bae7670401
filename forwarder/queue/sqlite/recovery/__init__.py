"""What is done with a queue's file that a crash or a failing disk has damaged: nothing of this runs on a sound one."""
