"""The command line `labml-sd`: a module a group of commands.

start      the process: Ctrl-C, then main
main       arguments -> a command, its exit code; every error is one line
flags      the flags of the commands; those of the settings come from the fields of Settings
draw       txt2img, img2img, inpaint: from prompts, lists, saving, resume and processes
prompts    arguments -> prompts, and their variants; a folder -> its pictures
lists      prompts and pictures -> calls of a pipeline
saving     calls -> files, one call at a time
resume     which pictures of a list a folder holds
processes  which part of a list this process draws, on which GPU
show       inspect, env
show_prompt  prompt: how a prompt is read, its variants, and what continues it
train      train; evaluate holds its parts `evaluate` and `card`
"""
