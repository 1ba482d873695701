using System.Text;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>
/// Sends what cells write to <see cref="Console.Out"/> and <see cref="Console.Error"/>, and by way of <c>Debug</c> and <c>Trace</c>,
/// to the sinks of the cell that it belongs to (<see cref="CellScope"/>), and lets cells read from their own source.
/// </summary>
/// <remarks>
/// It stands as long as there is a session, not only while a cell runs: threads and timers that a cell left behind go on writing.
/// The console's own writers come back when the last session ends.
/// </remarks>
internal static class ConsoleRouter
{
    private static readonly Lock Gate = new();
    private static readonly CellTraceListener Trace = new();
    private static TextWriter s_out = TextWriter.Null;
    private static TextWriter s_error = TextWriter.Null;
    private static TextReader s_in = TextReader.Null;
    private static ConsoleColours? s_colours;
    private static int s_sessions;

    [ThreadStatic]
    private static bool s_isInSink;

    /// <summary>A cell begins, in the console's plain colours.</summary>
    public static void BeginCell() => s_colours?.Restore();

    /// <summary>Routes the console of the process until the returned object is disposed.</summary>
    public static IDisposable Install()
    {
        lock (Gate)
        {
            if (s_sessions++ == 0)
            {
                (s_out, s_error, s_in) = (Console.Out, Console.Error, Console.In);
                s_colours = new ConsoleColours();
                Console.SetOut(new Router(isError: false, static () => s_out));
                Console.SetError(new Router(isError: true, static () => s_error));
                Console.SetIn(new Source());
                Trace.Install();
            }
        }

        return new Release();
    }

    private sealed class Release : IDisposable
    {
        private bool _disposed;

        public void Dispose()
        {
            lock (Gate)
            {
                if (!_disposed && --s_sessions == 0)
                {
                    Console.SetOut(s_out);
                    Console.SetError(s_error);
                    Console.SetIn(s_in);
                    Trace.Remove();
                }

                _disposed = true;
            }
        }
    }

    private sealed class Router(bool isError, Func<TextWriter> terminal) : TextWriter
    {
        private readonly ConsoleColours _colours = new();

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

            // A sink may itself write to the console; that goes to the terminal, not round in a circle.
            if (s_isInSink || CellScope.Current is not { } scope)
            {
                terminal().Write(value);
                return;
            }

            s_isInSink = true;
            try
            {
                scope.Write(_colours.Before(scope) + value, isError);
            }
            finally
            {
                s_isInSink = false;
            }
        }

        public override void WriteLine(string? value) => Write(value + NewLine);

        public override void WriteLine() => Write(NewLine);

        public override void Flush() => terminal().Flush();
    }

    private sealed class Source : TextReader
    {
        private string _line = "";
        private int _at;

        public override string? ReadLine()
        {
            if (_at >= _line.Length)
            {
                return CellScope.Current is { } scope ? scope.ReadLine() : s_in.ReadLine();
            }

            var rest = _line[_at..].TrimEnd('\n');
            _at = _line.Length;
            return rest;
        }

        public override int Peek() => Fill() ? _line[_at] : -1;

        public override int Read() => Fill() ? _line[_at++] : -1;

        private bool Fill()
        {
            if (_at >= _line.Length && ReadLine() is { } line)
            {
                (_line, _at) = (line + "\n", 0);
            }

            return _at < _line.Length;
        }
    }
}
