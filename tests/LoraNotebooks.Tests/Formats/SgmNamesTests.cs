using LoraNotebooks.Formats;

namespace LoraNotebooks.Tests.Formats;

/// <summary>The original code's names by their counting, without any model: there, back, and where there is none.</summary>
public sealed class SgmNamesTests
{
    /// <summary>Path, layers of a block, name; in a block of n layers the first of block b is number b·(n + 1), one more on the way down.</summary>
    public static TheoryData<string, int, string> Both => new()
    {
        { "conv_in", 2, "input_blocks.0.0" },
        { "conv_norm_out", 2, "out.0" },
        { "conv_out", 2, "out.2" },
        { "time_embedding.linear_1", 2, "time_embed.0" },
        { "time_embedding.linear_2", 2, "time_embed.2" },
        { "add_embedding.linear_1", 2, "label_emb.0.0" },
        { "add_embedding.linear_2", 2, "label_emb.0.2" },
        { "mid_block.resnets.0", 2, "middle_block.0" },
        { "mid_block.resnets.0.norm1", 2, "middle_block.0.in_layers.0" },
        { "mid_block.resnets.1.norm2", 2, "middle_block.2.out_layers.0" },
        { "mid_block.attentions.0.norm", 2, "middle_block.1.norm" },
        { "down_blocks.0.resnets.0", 2, "input_blocks.1.0" },
        { "down_blocks.0.resnets.0.conv2", 2, "input_blocks.1.0.out_layers.3" },
        { "down_blocks.2.resnets.1.time_emb_proj", 2, "input_blocks.8.0.emb_layers.1" },
        { "down_blocks.2.resnets.1.conv_shortcut", 1, "input_blocks.6.0.skip_connection" },
        { "down_blocks.2.attentions.1.norm1", 1, "input_blocks.6.1.norm1" },
        { "down_blocks.1.attentions.2.proj_in", 3, "input_blocks.7.1.proj_in" },
        { "down_blocks.1.downsamplers.0.conv", 2, "input_blocks.6.0.op" },
        { "down_blocks.1.downsamplers.0.conv", 3, "input_blocks.8.0.op" },
        { "up_blocks.0.resnets.0.conv1", 2, "output_blocks.0.0.in_layers.2" },
        { "up_blocks.3.attentions.2.proj_in", 2, "output_blocks.11.1.proj_in" },
        { "up_blocks.1.upsamplers.0.conv", 2, "output_blocks.5.2.conv" },
    };

    [Theory]
    [MemberData(nameof(Both))]
    public void Name_OfAModule_LeadsThereAndBack(string path, int layers, string name)
    {
        Assert.Equal(name, SgmNames.Of(path, layers, static _ => true));

        // In the original code's names an up block's resnets are as many as a down block's and one more.
        Assert.Equal(path, SgmNames.ToDiffusers(name, layers));
    }

    [Fact]
    public void Of_AnUpsampler_DependsOnWhetherItsBlockHasAttentions()
    {
        Assert.Equal("output_blocks.5.1.conv", SgmNames.Of("up_blocks.1.upsamplers.0.conv", 2, static block => block != 1));
        Assert.Equal("output_blocks.8.2.conv", SgmNames.Of("up_blocks.2.upsamplers.0.conv", 2, static block => block == 2));
        Assert.Equal("output_blocks.5.1", SgmNames.Of("up_blocks.1.upsamplers.0", 2, static _ => false));
        Assert.Equal("up_blocks.1.upsamplers.0.conv", SgmNames.ToDiffusers("output_blocks.5.1.conv", 2));
    }

    [Theory]
    [InlineData("conv_into")]
    [InlineData("down_blocks.0")]
    [InlineData("down_blocks.0.resnets")]
    [InlineData("side_blocks.0.resnets.0")]
    [InlineData("text_model.encoder")]
    [InlineData("down_blocks.12345.resnets.0")]
    public void Of_WhatTheOriginalCodeDoesNotName_IsNothing(string path) => Assert.Null(SgmNames.Of(path, 2, static _ => true));

    [Theory]
    [InlineData("input_blocks.1")]
    [InlineData("outer.2")]
    [InlineData("down_blocks.0.resnets.0")]
    public void ToDiffusers_OfAnotherName_IsNothing(string name) => Assert.Null(SgmNames.ToDiffusers(name, 2));

    /// <summary>A part of a resnet that the original code calls otherwise, but below no resnet, keeps its name.</summary>
    [Fact]
    public void Name_OfAnAttentionsPart_IsKept()
    {
        Assert.Equal("middle_block.1.conv1", SgmNames.Of("mid_block.attentions.0.conv1", 2, static _ => true));
        Assert.Equal("mid_block.attentions.0.in_layers.2", SgmNames.ToDiffusers("middle_block.1.in_layers.2", 2));
    }

    [Theory]
    [InlineData("time_emb_proj_conv_in", "time_emb_proj.conv_in")]
    [InlineData("time_embedding_linear_1", "time_embedding.linear_1")]
    [InlineData("time_embed_0", "time_embed.0")]
    [InlineData("a_to_quality", "a.to.quality")]
    [InlineData("text_model_encoder_layers_0_layer_norm1", "text_model.encoder.layers.0.layer_norm1")]
    public void Dotted_OfUnderscores_KeepsThoseInsideOfWords(string underscored, string expected) => Assert.Equal(expected, KohyaNames.Dotted(underscored));

    [Theory]
    [InlineData("conv_in", true)]
    [InlineData("conv_in.x", true)]
    [InlineData("conv_inner", false)]
    [InlineData("layers.0.conv_in", false)]
    [InlineData("text_projection", true)]
    [InlineData("down_blocks.0", true)]
    public void IsKnown_OfAPath_HoldsForStableDiffusions(string path, bool expected) => Assert.Equal(expected, KohyaNames.IsKnown(path));

    /// <summary>The name to write comes first. Of a file that does not tell whether an up block has attentions, both names of its upsampler are read.</summary>
    [Theory]
    [InlineData(false, "lora_unet_up_blocks_0_upsamplers_0_conv", "lora_unet_output_blocks_2_2_conv", "lora_unet_output_blocks_2_1_conv")]
    [InlineData(true, "lora_unet_output_blocks_2_2_conv", "lora_unet_up_blocks_0_upsamplers_0_conv", "lora_unet_output_blocks_2_1_conv")]
    public void Names_OfAPartOfAUNet_AreAllThatMayMeanAModule(bool sgm, params string[] expected)
    {
        var names = KohyaNames.Of(new LoraPart("unet", "lora_unet", ["up_blocks.0.upsamplers.0.conv", "something.else"], sgm)).ToList();

        Assert.Equal(expected.Append("lora_unet_something_else"), names.Select(static name => name.Name));
        Assert.Equal([.. expected.Select(static _ => "up_blocks.0.upsamplers.0.conv"), "something.else"], names.Select(static name => name.Path));
    }

    /// <summary>A whole UNet tells its layers and attentions.</summary>
    [Fact]
    public void Names_OfAWholeUNet_FollowItsLayersAndAttentions()
    {
        string[] paths =
        [
            "down_blocks.0.resnets.0", "down_blocks.0.resnets.1", "down_blocks.0.resnets.2", "down_blocks.0.resnets.0.conv1", "up_blocks.0",
            "up_blocks.0.upsamplers.0.conv", "up_blocks.1.attentions.0", "up_blocks.1.upsamplers.0.conv",
            "up_blocks.1.attentions.0.norm",
        ];

        var names = KohyaNames.Of(new LoraPart("unet", "x", paths, HasSgmNames: true)).ToLookup(static name => name.Path, static name => name.Name);

        // Three layers a block: block 1 begins at 4, and its upsampler is at 4 + 3.
        Assert.Equal(["x_output_blocks_3_1_conv", "x_up_blocks_0_upsamplers_0_conv"], names["up_blocks.0.upsamplers.0.conv"]);
        Assert.Equal(["x_output_blocks_7_2_conv", "x_up_blocks_1_upsamplers_0_conv"], names["up_blocks.1.upsamplers.0.conv"]);
        Assert.Equal(["x_up_blocks_0"], names["up_blocks.0"]);
    }
}
