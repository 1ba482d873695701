namespace LoraNotebooks.Tests;

/// <summary>Whether this run writes anew what tests compare with and can draw themselves: <c>LORANOTEBOOKS_RENEW=1</c>.</summary>
internal static class Renewal
{
    private const string Variable = "LORANOTEBOOKS_RENEW";

    public static bool IsAsked => Environment.GetEnvironmentVariable(Variable) == "1";

    /// <summary>What to do where a change is meant.</summary>
    /// <param name="project">The test project's name.</param>
    /// <param name="test">What the filter finds the test by.</param>
    public static string Advice(string project, string test) =>
        $"Where this is meant, renew with {Variable}=1 dotnet test tests/{project} -c Release --filter \"FullyQualifiedName~{test}\" and commit what changed.";
}
