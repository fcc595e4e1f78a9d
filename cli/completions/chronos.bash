# Completion of chronos and chronosd for bash. The program itself knows what fits (see
# cli/completion.hpp); here is only how bash is told.

_chronos() {
    local program=${1/#\~\//$HOME/} word line rest='' value i joined='' output
    local -a words=() begins=()
    # bash splits at "=": put --color=auto together again.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == '=' && ${#words[@]} -gt 0 && ${words[-1]} == --* && ${words[-1]} != *=* ]]; then
            words[-1]+='='
            joined=yes
        elif [[ -n $joined ]]; then
            words[-1]+=$word
            joined=''
        else
            words+=("$word")
            begins+=("$i")
        fi
    done
    COMPREPLY=()
    ((${#words[@]} > 0)) || return 0
    output=$("$program" complete "${words[@]}" 2>/dev/null) || return 0
    word=${words[-1]} value=$word
    while IFS= read -r line; do
        case $line in
            :*) rest=$line ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done <<<"$output"
    if [[ $word == --*=* ]]; then
        value=${word#*=}
        # Only what is behind the "=" is replaced.
        [[ $COMP_WORDBREAKS != *=* ]] || COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
    fi
    case $rest in
        :files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$value") ;;
        :folders) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$value") ;;
        :users) mapfile -t COMPREPLY < <(compgen -u -- "$value") ;;
        ':command '*)
            i=${rest#:command }
            if ((i + 1 > ${#words[@]})); then
                :
            elif declare -F _comp_command_offset >/dev/null; then
                _comp_command_offset "${begins[i]}"
            elif declare -F _command_offset >/dev/null; then
                _command_offset "${begins[i]}"
            elif ((i + 1 == ${#words[@]})); then
                mapfile -t COMPREPLY < <(compgen -c -- "$value")
            else
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$value")
            fi
            ;;
    esac
    return 0
}

complete -F _chronos chronos chronosd
