# Completion of lensd in bash. Flags and their choices are read from `lensd --help`, which its settings' rows make.
_lensd() {
    local current=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} rows row
    if [[ $current == "=" ]]; then
        current=
    elif [[ $flag == "=" ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    rows=$("${COMP_WORDS[0]/#\~/$HOME}" --help 2>/dev/null | awk '
        /^  --/ { if (name != "") print name, value, choices; name = $1; value = $2 == "" ? "-" : $2
                  choices = value ~ /\|/ ? value : "" }
        /^      / && choices == "" && match($0, /[a-z0-9_]+(\|[a-z0-9_]+)+/) { choices = substr($0, RSTART, RLENGTH) }
        END { print name, value, choices }')
    COMPREPLY=()
    row=$(grep -- "^$flag " <<<"$rows")
    if [[ $flag != -* || -z $row || $row == *" - "* ]]; then
        COMPREPLY=($(compgen -W "$(cut -d' ' -f1 <<<"$rows")" -- "$current"))
        return
    fi
    local value choices
    read -r _ value choices <<<"$row"
    if [[ -n $choices ]]; then
        COMPREPLY=($(compgen -W "${choices//|/ }" -- "$current"))
    elif [[ $value == FILE || $value == PATH || $value == DIR* ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}
complete -F _lensd lensd
