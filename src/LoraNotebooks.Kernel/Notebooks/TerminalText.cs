using System.Text;

namespace LoraNotebooks.Kernel.Notebooks;

/// <summary>Text that arrives in pieces, as a terminal leaves it: after a carriage return the line is overwritten.</summary>
/// <remarks>Jupyter's front ends show streams in the same way, so of a progress bar only its last state is kept.</remarks>
internal sealed class TerminalText
{
    private const char Escape = '\u001b';

    private readonly StringBuilder _finished = new();
    private readonly StringBuilder _line = new();
    private int _column;

    /// <summary>The number of characters that are left.</summary>
    public int Length => _finished.Length + _line.Length;

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

            if (text[end] == '\n')
            {
                _finished.Append(_line).Append('\n');
                _line.Clear();
            }

            _column = 0;
            text = text[(end + 1)..];
        }
    }

    /// <inheritdoc/>
    public override string ToString() => $"{_finished}{_line}";

    private void Overwrite(ReadOnlySpan<char> text)
    {
        var behind = _line.Length - _column;
        if (behind > 0 && text.Length > 0)
        {
            // Colour codes have no width: which letters they would cover cannot be told, so all of the old line goes.
            var hasCodes = text.Contains(Escape) || _line.ToString().Contains(Escape, StringComparison.Ordinal);
            _line.Remove(_column, hasCodes ? behind : Math.Min(behind, text.Length));
        }

        _line.Insert(_column, text);
        _column += text.Length;
    }
}
