# Completion of chronos and chronosd for fish. The program itself knows what fits (see
# cli/completion.hpp); here is only how fish is told.

function __chronos_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -e words[1]
    set -l before ''
    set -l value $current
    if string match -q -- '--*=*' "$current"
        set before (string replace -r '=.*' '=' -- $current)
        set value (string replace -r '^[^=]*=' '' -- $current)
    end
    for line in (command $program complete $words "$current" 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path "$value" | string replace -r '^' -- "$before"
            case ':folders'
                __fish_complete_directories "$value" '' | string replace -r '^' -- "$before"
            case ':users'
                __fish_complete_users | string replace -r '^' -- "$before"
            case ':command *'
                set -l first (math (string replace ':command ' '' -- $line) + 1)
                set -l rest
                if test $first -le (count $words)
                    set rest (string escape -- $words[$first..-1])
                end
                complete -C (string join ' ' -- $rest "$current")
            case ':'
            case '*'
                echo $line
        end
    end
end

complete -c chronos -f -a '(__chronos_complete)'
complete -c chronosd -f -a '(__chronos_complete)'
