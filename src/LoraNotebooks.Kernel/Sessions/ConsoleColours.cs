namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Turns the colours that a cell sets on <see cref="Console"/> into the codes of a terminal, which front ends show.</summary>
/// <remarks>
/// .NET writes such codes to the process's own terminal and past <see cref="Console.Out"/>. So each write looks at which colours are set.
/// Every cell begins without one. On Windows this needs a console; without one .NET remembers no colour.
/// </remarks>
internal sealed class ConsoleColours
{
    private const string Reset = "\u001b[0m";

    // ConsoleColor counts in the order of DOS: blue and red are exchanged.
    private static readonly int[] Order = [0, 4, 2, 6, 1, 5, 3, 7];

    private readonly (ConsoleColor Letters, ConsoleColor Ground) _plain = Now();
    private (ConsoleColor Letters, ConsoleColor Ground) _shown = Now();
    private CellScope? _scope;

    /// <summary>Takes back the colours that an earlier cell left set.</summary>
    public void Restore()
    {
        if (Now() != _plain)
        {
            Console.ResetColor();
        }
    }

    /// <summary>The codes that must stand before text of a cell; empty if it goes on in the same colours.</summary>
    public string Before(CellScope scope)
    {
        if (_scope != scope)
        {
            (_scope, _shown) = (scope, _plain);
        }

        var now = Now();
        if (now == _shown)
        {
            return "";
        }

        _shown = now;
        return Reset + (now.Letters == _plain.Letters ? "" : Code(now.Letters, 30)) + (now.Ground == _plain.Ground ? "" : Code(now.Ground, 40));
    }

    private static (ConsoleColor Letters, ConsoleColor Ground) Now() => (Console.ForegroundColor, Console.BackgroundColor);

    private static string Code(ConsoleColor colour, int first) =>
        (int)colour is >= 0 and < 16 and var number ? $"\u001b[{first + Order[number & 7] + (number >= 8 ? 60 : 0)}m" : "";
}
