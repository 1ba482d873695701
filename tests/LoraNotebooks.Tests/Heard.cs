namespace LoraNotebooks.Tests;

/// <summary>What is told on the error stream while something is done.</summary>
internal static class Heard
{
    public static string During(Action action)
    {
        var before = Console.Error;
        using var told = new StringWriter();
        Console.SetError(told);
        try
        {
            action();
        }
        finally
        {
            Console.SetError(before);
        }

        return told.ToString();
    }
}
