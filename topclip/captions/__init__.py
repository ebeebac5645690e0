"""Text to captions: subtitle files to words, words to lines, lines to side files and to a script that libass draws.

Must touch neither media nor processes.
"""
