namespace LoraNotebooks.Models;

/// <summary>What a list of a configuration must be that has one entry per resolution level of a network, of which block_out_channels has one each.</summary>
internal static class LevelChecks
{
    /// <summary>One block type per level, each a known one.</summary>
    public static void Levels(this Faults faults, string key, IReadOnlyList<string> types, int levels, IReadOnlyList<string> known)
    {
        faults.Require(types.Count == levels, $"{key}: got {types.Count} entries, expected {levels}, one per entry of block_out_channels");
        var unknown = types.Where(type => !known.Contains(type)).Distinct().ToList();
        faults.Require(unknown.Count == 0, $"{key}: got {string.Join(", ", unknown)}, expected only {string.Join(" or ", known)}");
    }

    /// <summary>One value, or one per level, each of them good.</summary>
    public static void Levels<T>(this Faults faults, string key, PerBlock<T> values, int levels, Func<T, bool> isGood, string expected)
    {
        faults.Require(
            values.IsUniform || values.Count == levels,
            $"{key}: got {values.Count} values, expected one, or {levels}, one per entry of block_out_channels");
        faults.Require(values.All(isGood), $"{key}: got {values}, expected {expected}");
    }
}
