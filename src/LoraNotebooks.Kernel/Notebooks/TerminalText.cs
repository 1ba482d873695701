namespace LoraNotebooks.Kernel.Notebooks;

/// <summary>Text that arrives in pieces, as a terminal leaves it: after a carriage return the line is overwritten.</summary>
/// <remarks>
/// Jupyter's front ends show streams in the same way, so of a progress bar only its last state is kept.
/// Each letter is copied a fixed number of times, however long the line is and in however many pieces it comes.
/// </remarks>
internal sealed class TerminalText
{
    private const char Escape = '\u001b';

    private char[] _text = [];
    private int _length;
    private int _lineStart;
    private int _column;

    /// <summary>The place of the unfinished line's first colour code; -1 without one.</summary>
    private int _firstCode = -1;

    /// <summary>The number of characters that are left.</summary>
    public int Length => _length;

    /// <summary>The lines that are finished, each with its end.</summary>
    public ReadOnlySpan<char> FinishedLines => _text.AsSpan(0, _lineStart);

    /// <summary>The line that is not finished yet.</summary>
    public ReadOnlySpan<char> UnfinishedLine => _text.AsSpan(_lineStart, _length - _lineStart);

    /// <summary>The text as it is left.</summary>
    public static string Fold(string text)
    {
        var folded = new TerminalText();
        folded.Append(text);
        return folded.ToString();
    }

    /// <summary>Adds a piece; a carriage return at its end acts on the next one.</summary>
    public void Append(ReadOnlySpan<char> text)
    {
        while (text.Length > 0)
        {
            var end = text.IndexOfAny('\r', '\n');
            Overwrite(end < 0 ? text : text[..end]);
            if (end < 0)
            {
                return;
            }

            _column = 0;
            if (text[end] == '\n')
            {
                Reserve(1);
                _text[_length++] = '\n';
                (_lineStart, _firstCode) = (_length, -1);
            }

            text = text[(end + 1)..];
        }
    }

    /// <summary>Forgets the finished lines.</summary>
    public void DropFinishedLines()
    {
        UnfinishedLine.CopyTo(_text);
        _length -= _lineStart;
        _firstCode -= _firstCode < 0 ? 0 : _lineStart;
        _lineStart = 0;
    }

    /// <inheritdoc/>
    public override string ToString() => new(_text, 0, _length);

    private void Overwrite(ReadOnlySpan<char> text)
    {
        if (text.Length == 0)
        {
            return;
        }

        var at = _lineStart + _column;
        var code = text.IndexOf(Escape);
        if (code >= 0 || _firstCode >= 0)
        {
            // Colour codes have no width: which letters they would cover cannot be told, so all of the old line goes.
            _length = at;
            _firstCode = _firstCode >= 0 && _firstCode < at ? _firstCode : code >= 0 ? at + code : -1;
        }

        Reserve(at + text.Length - _length);
        text.CopyTo(_text.AsSpan(at));
        _length = Math.Max(_length, at + text.Length);
        _column += text.Length;
    }

    private void Reserve(int more)
    {
        if (_length + more > _text.Length)
        {
            Array.Resize(ref _text, Math.Max(_length + more, Math.Max(64, 2 * _text.Length)));
        }
    }
}
