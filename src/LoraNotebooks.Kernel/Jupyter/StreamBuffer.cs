using System.Text;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>Collects what a cell writes to its console streams and sends it in pieces: at once when the cell does something else, else 20 times a second.</summary>
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
            send(_name, _text.ToString());
            _text.Clear();
        }
    }
}
