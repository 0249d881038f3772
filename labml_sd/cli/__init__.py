"""The command line `labml-sd`: a module a group of commands.

start      the process: Ctrl-C, then main
main       arguments -> a command, its exit code; every error is one line
flags      the flags of the commands; those of the settings come from the fields of Settings
draw       txt2img, img2img, inpaint
show       inspect, env
train      train; evaluate holds its parts `evaluate` and `card`
"""
