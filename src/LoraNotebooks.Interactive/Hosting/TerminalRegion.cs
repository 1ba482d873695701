using System.Text;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace LoraNotebooks.Interactive;

/// <summary>The last lines of a terminal, in which displays are rewritten in place.</summary>
/// <remarks>
/// The region ends at the cursor. Displays leave it at the top when it grows higher than the window, and all of them leave it when
/// something else is written: what they show then stays as it is. Calls are serialised by the caller.
/// </remarks>
internal sealed class TerminalRegion(IAnsiConsole console)
{
    private readonly List<Block> _blocks = [];
    private readonly HashSet<object> _left = new(ReferenceEqualityComparer.Instance);
    private TextWriter? _own;
    private bool _isMidLine;

    /// <summary>Whether the cursor of a console can be moved.</summary>
    public static bool CanRewrite(IAnsiConsole console) =>
        console.Profile.Capabilities is { Ansi: true, Interactive: true } && console.Profile.Out.IsTerminal;

    /// <summary>The region of this process's terminal, which ends when the program itself writes; null if the output is no terminal.</summary>
    /// <param name="gate">What serialises the calls.</param>
    public static TerminalRegion? OfThisProcess(Lock gate)
    {
        var output = Console.Out;
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output) });
        if (!CanRewrite(console))
        {
            return null;
        }

        var region = new TerminalRegion(console);
        Console.SetOut(new WatchedWriter(output, last =>
        {
            lock (gate)
            {
                region.LetGo();
                region._isMidLine = last != '\n';
            }
        }));
        region._own = Console.Out;
        return region;
    }

    /// <summary>Shows the content of a display, in the place where it is.</summary>
    /// <returns>False if its place is no longer in the region.</returns>
    public bool Show(object display, string text)
    {
        if (!IsOurs)
        {
            LetGo();
        }

        if (_left.Contains(display) || !IsOurs)
        {
            return false;
        }

        var lines = Fit(text);
        var drawn = _blocks.Sum(block => block.Lines.Count);
        var block = _blocks.Find(b => ReferenceEquals(b.Display, display));
        if (block is null)
        {
            _blocks.Add(block = new Block(display));
        }

        var before = block.Lines;
        block.Lines = lines;
        while (_blocks.Sum(b => b.Lines.Count) >= console.Profile.Height)
        {
            var first = _blocks[0];
            if (ReferenceEquals(first, block))
            {
                // Higher than the window by itself: it cannot be reached again once it is written.
                block.Lines = before;
                LetGo();
                return false;
            }

            drawn -= first.Lines.Count;
            _blocks.RemoveAt(0);
            _left.Add(first.Display);
        }

        Write(Erase(drawn) + Drawing());
        return true;
    }

    /// <summary>Writes a line above the region.</summary>
    public void WriteAbove(string text)
    {
        if (IsOurs)
        {
            Write($"{Erase(_blocks.Sum(block => block.Lines.Count))}{text}\n{Drawing()}");
        }
        else
        {
            Console.Out.WriteLine(text);
        }
    }

    // Whoever redirects the console takes the displays with it.
    private bool IsOurs => _own is null || ReferenceEquals(Console.Out, _own);

    /// <summary>Ends the region here; what it shows stays.</summary>
    private void LetGo()
    {
        _left.UnionWith(_blocks.Select(block => block.Display));
        _blocks.Clear();
    }

    private string Drawing()
    {
        var drawing = new StringBuilder();
        foreach (var line in _blocks.SelectMany(block => block.Lines))
        {
            drawing.Append(line).Append('\n');
        }

        return drawing.ToString();
    }

    private static string Erase(int lines) => lines == 0 ? "" : $"\e[{lines}A\r\e[J";

    // In one piece, so that nothing flickers.
    private void Write(string text)
    {
        console.Profile.Out.Writer.Write(_isMidLine ? "\n" + text : text);
        _isMidLine = false;
        console.Profile.Out.Writer.Flush();
    }

    // A line that wraps would take two, and the region would be lost.
    private IReadOnlyList<string> Fit(string text) => text.Length == 0 ? [] :
        [.. text.Split('\n')
            .Select(line => new Segment(line).CellCount() < console.Profile.Width
                ? line
                : Segment.Truncate(new Segment(line), console.Profile.Width - 2)?.Text + "…")];

    private sealed class Block(object display)
    {
        public object Display { get; } = display;

        public IReadOnlyList<string> Lines { get; set; } = [];
    }

    /// <summary>Passes on what the program writes and says that it wrote.</summary>
    private sealed class WatchedWriter(TextWriter output, Action<char> written) : TextWriter
    {
        public override Encoding Encoding => output.Encoding;

        public override void Write(char value)
        {
            written(value);
            output.Write(value);
        }

        public override void Write(string? value)
        {
            if (!string.IsNullOrEmpty(value))
            {
                written(value[^1]);
                output.Write(value);
            }
        }

        public override void Write(char[] buffer, int index, int count)
        {
            if (count > 0)
            {
                written(buffer[index + count - 1]);
                output.Write(buffer, index, count);
            }
        }

        public override void Flush() => output.Flush();
    }
}
