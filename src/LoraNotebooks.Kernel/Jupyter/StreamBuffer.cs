using System.Text;
using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>
/// Collects what a cell writes to its console streams and sends it in pieces: at once when the cell does something else, else 20 times a second.
/// </summary>
/// <remarks>A message for every <c>Console.Write</c> would drown the front end of a cell that writes a million lines.</remarks>
internal sealed class StreamBuffer(Action<string, string> send)
{
    private const int LargestPiece = 1 << 16;
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(50);

    private readonly Lock _gate = new();
    private readonly StringBuilder _text = new();
    private string _name = "stdout";
    private Timer? _timer;

    /// <summary>Adds text to <c>stdout</c> or <c>stderr</c>, from any thread.</summary>
    public void Write(string name, string text)
    {
        // A cell may be aborted anywhere but in a finally block.
        try
        {
        }
        finally
        {
            lock (_gate)
            {
                if (name != _name)
                {
                    Send();
                    _name = name;
                }

                if (_text.Length == 0)
                {
                    _timer ??= new Timer(_ => Flush());
                    _timer.Change(Interval, Timeout.InfiniteTimeSpan);
                }

                _text.Append(text);
                if (_text.Length >= LargestPiece)
                {
                    Send();
                }
            }
        }
    }

    /// <summary>Sends what has been collected.</summary>
    public void Flush()
    {
        lock (_gate)
        {
            Send();
        }
    }

    private void Send()
    {
        if (_text.Length > 0)
        {
            send(_name, WithoutOverwritten(_text.ToString()));
            _text.Clear();
        }
    }

    /// <summary>Leaves out of a piece what nobody would see: the states of a line between the first and the last.</summary>
    /// <remarks>
    /// The first goes on with what was sent before. A front end works on the whole of
    /// a line at each piece; of 16,000 states of a progress bar it gets some tens.
    /// </remarks>
    internal static string WithoutOverwritten(string piece)
    {
        // Where a colour begins or ends in a state that is left out, the next one needs it.
        if (!piece.AsSpan().TrimEnd('\r').Contains('\r') || piece.Contains('\u001b', StringComparison.Ordinal))
        {
            return piece;
        }

        var kept = new StringBuilder();
        foreach (var range in piece.AsSpan().Split('\n'))
        {
            var line = piece.AsSpan()[range];
            if (range.Start.Value > 0)
            {
                kept.Append('\n');
            }

            var (first, last) = (line.IndexOf('\r'), line.TrimEnd('\r').LastIndexOf('\r'));
            if (first < 0 || last <= first)
            {
                kept.Append(line);
                continue;
            }

            var between = TerminalText.Fold(line[(first + 1)..last].ToString());
            var end = line[(last + 1)..];
            kept.Append(line[..(first + 1)]);
            if (between.Length > end.TrimEnd('\r').Length)
            {
                kept.Append(between).Append('\r');
            }

            kept.Append(end);
        }

        return kept.ToString();
    }
}
