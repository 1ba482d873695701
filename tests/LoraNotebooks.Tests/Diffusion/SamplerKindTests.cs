using System.Text.Json;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class SamplerKindTests
{
    /// <summary>The order in which the first indexes of grids numbered them.</summary>
    private static readonly string[] Numbered =
    [
        "Ddim", "Ddpm", "Euler", "EulerAncestral", "DpmPlusPlus2M", "Pndm", "Heun", "Lms", "DpmPlusPlus2MSde", "DpmPlusPlus3MSde", "UniPc", "DpmPlusPlusSde",
        "DpmPlusPlus2SAncestral", "Dpm2", "Dpm2Ancestral",
    ];

    [Fact]
    public void All_OwnSamplers_AreThePropertiesOfTheirNames()
    {
        var properties = typeof(SamplerKind).GetProperties().Where(static property => property.PropertyType == typeof(SamplerKind)).ToList();

        Assert.Equal(SamplerKind.All, properties.Select(static property => property.GetValue(null)));
        Assert.Equal(SamplerKind.All.Select(static kind => kind.Name), properties.Select(static property => property.Name));
        Assert.Equal(Numbered.Order(), SamplerKind.All.Select(static kind => kind.Name).Order());
    }

    [Fact]
    public void Json_EverySampler_IsItsNameInAnyCaseOrItsFormerNumber() => Assert.All(Numbered, static (name, number) =>
    {
        var kind = SamplerKind.Named(name.ToUpperInvariant());
        Assert.Equal($"\"{name}\"", JsonSerializer.Serialize(kind));
        Assert.Equal(
            [kind, kind, kind],
            JsonSerializer.Deserialize<SamplerKind[]>($"[\"{name}\", \"{name.ToLowerInvariant()}\", {number}]")!);
    });

    [Theory]
    [InlineData("15", "Got Number for a sampler, expected its name, one of DpmPlusPlus2M, ")]
    [InlineData("-1", "Got Number for a sampler")]
    [InlineData("true", "Got True for a sampler")]
    [InlineData("\"Euler a\"", "Got the sampler 'Euler a', expected one of DpmPlusPlus2M, ")]
    public void Json_SomethingElse_NamesTheSamplers(string json, string expected) =>
        Assert.StartsWith(expected, Assert.Throws<JsonException>(() => JsonSerializer.Deserialize<SamplerKind>(json)).Message);

    [Fact]
    public void Unregister_TheLibrarysOwn_IsRefused()
    {
        var message = Assert.Throws<ArgumentException>(static () => SamplerKind.Unregister(SamplerKind.Euler)).Message;
        Assert.StartsWith("Got the library's own sampler Euler, which stays; expected one that Register returned.", message);
        Assert.Same(SamplerKind.Euler, SamplerKind.Named("Euler"));
    }
}
