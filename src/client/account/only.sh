# Written by `nas-sync setup --lock-down`: all that one key may do here is to let rsync receive into one folder and send from
# it, flush that folder, and ask whether it is there and how much room it has.
LC_ALL=C
export LC_ALL
refuse() {
    printf '%s\n' @refusal@ >&2
    exit 1
}
asked=${SSH_ORIGINAL_COMMAND-}
# What stands in the command before one of these ends.
options_before() {
    options=
    for end; do
        case $words in *"$end") options=${words%"$end"} ;; esac
    done
    [ -n "$options" ] || refuse
    case $options in *[!A-Za-z0-9=,.\ -]*) refuse ;; esac
}
case $asked in
@harmless@) ;;
@rsync@' --server --sender '*)
    words=${asked#@rsync@' --server --sender '}
    options_before @sources@
    set -f
    for word in $options; do
        case $word in
        --timeout=* | --checksum-choice=* | --compress-choice=* | --old-compress | --new-compress | --numeric-ids) ;;
        # Names that come over the connection lead nowhere above the folder: rsync sees to it.
        --files-from=- | --from0) ;;
        --*) refuse ;;
        # Nothing that follows symlinks.
        -*) case ${word%%e.*} in *[!dnlWogDtprcIRz-]*) refuse ;; esac ;;
        *) refuse ;;
        esac
    done
    ;;
@rsync@' --server '*)
    words=${asked#@rsync@' --server '}
    options_before @destinations@
    set -f
    for word in $options; do
        case $word in
        --timeout=* | --checksum-choice=* | --compress-choice=* | --old-compress | --new-compress) ;;
        --no-implied-dirs | --numeric-ids | --remove-source-files | --fsync) ;;
        --partial-dir | .rsync-partial | --delay-updates) ;;
        --*) refuse ;;
        -*) case ${word%%e.*} in *[!ntrcIRSzOKW-]*) refuse ;; esac ;;
        *) refuse ;;
        esac
    done
    ;;
*) refuse ;;
esac
eval "$asked"
