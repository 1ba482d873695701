using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class SamplerChoiceTests
{
    [Theory]
    [InlineData("DPM++ 2M Karras", SamplerKind.DpmPlusPlus2M, SigmaSpacing.Karras)]
    [InlineData("DPM++ 2M SDE Exponential", SamplerKind.DpmPlusPlus2MSde, SigmaSpacing.Exponential)]
    [InlineData("dpmpp_3m_sde", SamplerKind.DpmPlusPlus3MSde, null)]
    [InlineData("Euler a", SamplerKind.EulerAncestral, null)]
    [InlineData("k_euler_a", SamplerKind.EulerAncestral, null)]
    [InlineData("euler_ancestral karras", SamplerKind.EulerAncestral, SigmaSpacing.Karras)]
    [InlineData("euler", SamplerKind.Euler, null)]
    [InlineData("uni_pc", SamplerKind.UniPc, null)]
    [InlineData("PLMS", SamplerKind.Pndm, null)]
    [InlineData("DpmPlusPlus2M", SamplerKind.DpmPlusPlus2M, null)]
    [InlineData("DPM++ SDE Karras", SamplerKind.DpmPlusPlusSde, SigmaSpacing.Karras)]
    [InlineData("dpm_2_ancestral", SamplerKind.Dpm2Ancestral, null)]
    [InlineData("LMS normal", SamplerKind.Lms, SigmaSpacing.Timesteps)]
    public void Parse_NamesOfOtherPrograms_AreKnown(string name, SamplerKind kind, SigmaSpacing? spacing) =>
        Assert.Equal(new SamplerChoice(kind, spacing), SamplerChoice.Parse(name));

    [Theory]
    [InlineData("")]
    [InlineData("Karras")]
    [InlineData("DDIM Karras")]
    [InlineData("Euler b")]
    [InlineData("DPM fast")]
    public void Parse_UnknownName_ListsAll(string name)
    {
        var message = Assert.Throws<FormatException>(() => SamplerChoice.Parse(name)).Message;
        Assert.All(SamplerChoice.Names.Append($"'{name}'"), part => Assert.Contains(part, message));
    }

    [Fact]
    public void ToString_EverySamplerAndSpacing_IsReadBack()
    {
        foreach (var kind in Enum.GetValues<SamplerKind>())
        {
            Assert.Equal(new SamplerChoice(kind), SamplerChoice.Parse(new SamplerChoice(kind).ToString()));
        }

        foreach (var spacing in Enum.GetValues<SigmaSpacing>())
        {
            var choice = new SamplerChoice(SamplerKind.Heun, spacing);
            Assert.Equal(choice, SamplerChoice.Parse(choice.ToString()));
            Assert.Equal(spacing, SamplerChoice.ParseSpacing(SamplerChoice.NameOf(spacing)));
        }

        Assert.Equal(Enum.GetValues<SamplerKind>().Length, SamplerChoice.Names.Count);
    }
}
