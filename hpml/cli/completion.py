"""Completion of keys and their options in bash, for `hpml train` and `python -m hpml.train`.

The script that Hydra prints knows programs that are files, such as `python train.py`, alone. The
answers come from Hydra: `-sc query=bash`.
"""

INSTALL = r"""
_hpml_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" word start choices
    local program='((hpml +|[^ ]*python[0-9.]* +-m +hpml\.)(train|data))'
    COMPREPLY=()
    [[ $line =~ ^\ *$program\ +(.*)$ ]] || return 0
    word="${line##* }"
    choices="$(COMP_LINE="hpml ${BASH_REMATCH[4]}" ${BASH_REMATCH[1]} -sc query=bash 2>/dev/null)"
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
    # where `=` separates words, as it does unless told otherwise, bash keeps the part before it
    start="${word%"${word##*=}"}"
    [[ $COMP_WORDBREAKS != *=* ]] || COMPREPLY=("${COMPREPLY[@]#"$start"}")
}
complete -o nospace -o default -F _hpml_complete hpml python python3
"""
UNINSTALL = "complete -r hpml python python3; unset -f _hpml_complete"


def script(arguments: list[str]) -> str | None:
    """What bash has to evaluate, where the command line asks for it."""
    if len(arguments) == 2 and arguments[0] in ("-sc", "--shell-completion"):
        return {"install=bash": INSTALL, "uninstall=bash": UNINSTALL}.get(arguments[1])
    return None
