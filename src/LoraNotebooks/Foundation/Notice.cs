namespace LoraNotebooks.Foundation;

/// <summary>What a user should know although the work goes on: one line on the error stream, which notebooks show in the cell.</summary>
internal static class Notice
{
    /// <summary>Tells something, in one line.</summary>
    /// <param name="line">What to tell, the remedy in it.</param>
    public static void Tell(string line) => Console.Error.WriteLine(line.ReplaceLineEndings(" "));
}
