using System.Text;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Sends what a cell writes to <see cref="Console.Out"/> and <see cref="Console.Error"/> to the cell's own sinks, and lets it read from its own source.</summary>
/// <remarks>
/// The sinks flow with the asynchronous context: two sessions in one process do not mix, and a background task that a cell
/// started still writes to that cell. The console's own writers come back when the last capture ends.
/// </remarks>
internal static class ConsoleRouter
{
    private static readonly Lock s_gate = new();
    private static readonly AsyncLocal<Sinks?> s_sinks = new();
    private static TextWriter s_out = TextWriter.Null;
    private static TextWriter s_error = TextWriter.Null;
    private static TextReader s_in = TextReader.Null;
    private static int s_captures;

    /// <summary>Routes the console of this asynchronous context until the returned object is disposed.</summary>
    public static IDisposable Capture(Action<string> standardOutput, Action<string> standardError, Func<string?> readLine)
    {
        lock (s_gate)
        {
            if (s_captures++ == 0)
            {
                (s_out, s_error, s_in) = (Console.Out, Console.Error, Console.In);
                Console.SetOut(new Router(static sinks => sinks.Out, static () => s_out));
                Console.SetError(new Router(static sinks => sinks.Error, static () => s_error));
                Console.SetIn(new Source());
            }
        }

        var previous = s_sinks.Value;
        s_sinks.Value = new Sinks(standardOutput, standardError, readLine);
        return new Release(previous);
    }

    private sealed record Sinks(Action<string> Out, Action<string> Error, Func<string?> ReadLine);

    private sealed class Release(Sinks? previous) : IDisposable
    {
        private bool _disposed;

        public void Dispose()
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            s_sinks.Value = previous;
            lock (s_gate)
            {
                if (--s_captures == 0)
                {
                    Console.SetOut(s_out);
                    Console.SetError(s_error);
                    Console.SetIn(s_in);
                }
            }
        }
    }

    private sealed class Router(Func<Sinks, Action<string>> choose, Func<TextWriter> fallback) : TextWriter
    {
        public override Encoding Encoding => Encoding.UTF8;

        public override void Write(char value) => Write(value.ToString());

        public override void Write(char[] buffer, int index, int count) => Write(new string(buffer, index, count));

        public override void Write(ReadOnlySpan<char> buffer) => Write(new string(buffer));

        public override void Write(string? value)
        {
            if (string.IsNullOrEmpty(value))
            {
                return;
            }

            if (s_sinks.Value is not { } sinks)
            {
                fallback().Write(value);
                return;
            }

            // A sink may itself write to the console; that goes to the terminal, not round in a circle.
            s_sinks.Value = null;
            try
            {
                choose(sinks)(value);
            }
            finally
            {
                s_sinks.Value = sinks;
            }
        }

        public override void WriteLine(string? value) => Write(value + NewLine);

        public override void WriteLine() => Write(NewLine);

        public override void Flush() => fallback().Flush();
    }

    private sealed class Source : TextReader
    {
        private string _rest = "";

        public override string? ReadLine()
        {
            if (_rest.Length == 0)
            {
                return s_sinks.Value is { } sinks ? sinks.ReadLine() : s_in.ReadLine();
            }

            var line = _rest.TrimEnd('\n');
            _rest = "";
            return line;
        }

        public override int Peek() => Fill() ? _rest[0] : -1;

        public override int Read()
        {
            if (!Fill())
            {
                return -1;
            }

            var letter = _rest[0];
            _rest = _rest[1..];
            return letter;
        }

        private bool Fill()
        {
            if (_rest.Length == 0 && ReadLine() is { } line)
            {
                _rest = line + "\n";
            }

            return _rest.Length > 0;
        }
    }
}
