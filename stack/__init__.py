"""The whole of TopClip on one machine: what `topclip up` starts, keeps alive and stops, and what `topclip doctor`
checks.
"""
